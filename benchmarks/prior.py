"""P4 and P5: the prior of 39 concepts is exact, batched, and needs little memory."""

import torch
from measure import Goal, interleaved, peak_bytes, ratios, report, single_thread
from setting import images, performer

from semexplain.concepts.outputs import concept_indices
from semexplain.concepts.priors import feature_ratio
from semexplain.explanation import Performance
from semexplain.performers.vgg16_attributes import VGG16Attributes
from semexplain.system.trouble import told

WHOLE = 2  # concepts whose gradient is taken through the whole network; the rest is scaled


def performance(teacher: VGG16Attributes, x: torch.Tensor) -> Performance:
    """Score and concepts with their graph."""
    leaf = x.detach().requires_grad_()
    return Performance(*teacher.head(leaf), leaf, leaf)


def loop(teacher: VGG16Attributes, x: torch.Tensor) -> torch.Tensor:
    """The prior, one concept at a time."""
    said = performance(teacher, x)
    (target,) = torch.autograd.grad(said.score.sum(), said.feature, retain_graph=True)
    weights = []
    for number in range(said.concepts.shape[1]):
        (own,) = torch.autograd.grad(said.concepts[:, number].sum(), said.feature, retain_graph=True)
        weights.append((own * target).sum(1) / own.square().sum(1))
    return torch.stack(weights, 1)


def closed_form(teacher: VGG16Attributes, x: torch.Tensor) -> torch.Tensor:
    """The prior by matrix products: the network between two ReLUs is linear, with rows and columns struck out."""
    first, second = x > 0, teacher.fc2(x.relu()) > 0
    jacobian = (teacher.fc3.weight * second[:, None]) @ teacher.fc2.weight * first[:, None]
    target, concepts = jacobian[:, teacher.target_index], jacobian[:, concept_indices(teacher)]
    return torch.einsum("bnd,bd->bn", concepts, target) / concepts.square().sum(2)


def whole(teacher: VGG16Attributes, image: torch.Tensor) -> None:
    """Gradients of a few concepts with respect to the image."""
    pixels = teacher.preprocess(image).requires_grad_()
    concepts = teacher.head(teacher.feature(teacher.trunk(pixels)))[1]
    for number in range(WHOLE):
        torch.autograd.grad(concepts[0, number], pixels, retain_graph=True)


def main() -> None:
    """Measure and report."""
    single_thread()
    teacher = performer()
    x = torch.randn(32, 4096)
    times = interleaved({"batched": lambda: feature_ratio(performance(teacher, x)), "loop": lambda: loop(teacher, x)})
    image = images(1)
    forward = interleaved({"whole": lambda: whole(teacher, image)}, warmup=0)["whole"]
    scaled = [seconds / WHOLE * 40 for seconds in forward]  # the graph's making is shared out, which favours this arm
    batched = [seconds / 32 for seconds in times["batched"]]

    large = torch.randn(128, 4096)
    jacobian = 128 * 40 * 4096 * 4
    chunked = peak_bytes(lambda: feature_ratio(performance(teacher, large), chunk_bytes=8 * large.nbytes))
    one_shot = peak_bytes(lambda: feature_ratio(performance(teacher, large), chunk_bytes=2**40))

    single = feature_ratio(performance(teacher, x))
    with torch.no_grad():
        true = closed_form(teacher.double(), x.double())
    double = feature_ratio(performance(teacher, x.double()))
    report(
        [
            Goal("P4", "largest error of the prior in float64, relative", (relative(double, true),), 1e-10),
            Goal("P4", "largest error in float32, relative", (relative(single, true),), 1e-5),
            Goal(
                "P4",
                "batched prior over a loop of the concepts, 32 images",
                ratios(times["batched"], times["loop"]),
                0.6,
            ),
            Goal(
                "P4",
                "one gradient per concept through the whole network, over the batched prior",
                ratios(scaled, batched),
                200,
                at_most=False,
            ),
            Goal("P5", "memory over that of the float32 Jacobian, 128 images, at once", (one_shot / jacobian,), 4),
            Goal("P5", "the same, eight concepts at a time", (chunked / jacobian,), 2),
        ]
    )


def relative(found: torch.Tensor, true: torch.Tensor) -> float:
    """Largest difference over the largest value."""
    return float((found.double() - true.double()).abs().max() / true.abs().max())


if __name__ == "__main__":
    with told():
        main()
