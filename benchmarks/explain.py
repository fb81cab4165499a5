"""P8 and P9: explaining images by the explainer, against captum's and shap's methods and gradients, at the same layer.

Needs ``captum`` and ``shap`` (``pip install -e ".[bench]"``). A rival runs in full, at its stated number of samples, on
one image at a time, 64 evaluations of the head in a batch. Nothing is scaled from fewer.
"""

import warnings
from functools import partial

import numpy as np
import shap
import torch
from captum.attr import IntegratedGradients, KernelShap, ShapleyValueSampling
from measure import Goal, interleaved, ratios, report, single_thread

from semexplain.concepts.priors import filter_jacobian
from semexplain.explainers.resnet import ResNetExplainer
from semexplain.performers.interpretable_cnn import InterpretableCNN
from semexplain.system.trouble import told

BATCH = 64


def main() -> None:
    """Measure and report."""
    single_thread()
    warnings.simplefilter("ignore")
    teacher = InterpretableCNN("vgg16", weights=None).freeze()
    explainer = ResNetExplainer((512, 14, 14), 512, output="softplus").eval()
    image = torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8)
    maps = torch.rand(BATCH, 512, 14, 14)
    one, channels = maps[:1], torch.arange(512)[None, :, None, None]

    def score(x: torch.Tensor) -> torch.Tensor:
        return teacher.head(x)[0]

    def amortised(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return explainer.weights(explainer(x)) * x.sum((2, 3))

    def gradients(x: torch.Tensor) -> torch.Tensor:
        performance, weights = teacher.perform(x, filter_jacobian)
        assert weights is not None
        return weights * performance.concepts

    def forward() -> None:
        with torch.no_grad():
            teacher.head(teacher.encode(image))

    quick = interleaved(
        {
            "amortised": lambda: amortised(maps),
            "amortised, one": lambda: amortised(one),
            "gradients": lambda: gradients(maps),
            "gradients, one": lambda: gradients(one),
            "integrated": partial(IntegratedGradients(score).attribute, one, internal_batch_size=BATCH),
            "forward": forward,
        }
    )
    kernel = partial(
        KernelShap(score).attribute, one, feature_mask=channels, n_samples=3072, perturbations_per_eval=BATCH
    )
    sampling = partial(
        ShapleyValueSampling(score).attribute, one, feature_mask=channels, n_samples=25, perturbations_per_eval=BATCH
    )

    def coalitions(present: np.ndarray) -> np.ndarray:
        kept = torch.from_numpy(present).float()[:, :, None, None]
        return torch.cat([score(one * some) for some in kept.split(BATCH)]).numpy()

    explained = shap.KernelExplainer(coalitions, np.zeros((1, 512)))
    shap_kernel = partial(explained.shap_values, np.ones((1, 512)), nsamples=3072, l1_reg=0, silent=True)
    with torch.no_grad():
        slow = interleaved({"kernel": kernel, "shap": shap_kernel}, repeats=3, warmup=0) | interleaved(
            {"sampling": sampling}, repeats=1, warmup=0
        )
    each = {name: [seconds / BATCH for seconds in quick[name]] for name in ("amortised", "gradients")}
    goals = [
        Goal(
            "P9",
            "explainer over gradient times activation, batch 64",
            ratios(each["amortised"], each["gradients"]),
            1.2,
        ),
        Goal("P9", "the same, one image", ratios(quick["amortised, one"], quick["gradients, one"]), 2),
    ]
    names = {
        "kernel": ("captum's KernelSHAP, 3,072 samples", 1000, 25),
        "shap": ("shap's KernelExplainer, 3,072 samples", 1000, 25),
        "sampling": ("captum's Shapley sampling, 25 permutations", 5000, 150),
    }
    for name, (title, layer, whole) in names.items():
        count = len(slow[name])
        own, pass_ = each["amortised"][:count], quick["forward"][:count]
        through = ratios(
            [a + b for a, b in zip(slow[name], pass_, strict=True)], [a + b for a, b in zip(own, pass_, strict=True)]
        )
        goals += [
            Goal("P8", f"{title}, over the explainer in batches of 64", ratios(slow[name], own), layer, at_most=False),
            Goal("P8", "the same, the performer's forward pass included", through, whole, at_most=False),
        ]
    integrated = ratios(quick["integrated"], each["amortised"])
    goals.append(
        Goal("–", "integrated gradients, 50 steps, over the explainer (no goal)", integrated, 0, at_most=False)
    )
    report(goals)


if __name__ == "__main__":
    with told():
        main()
