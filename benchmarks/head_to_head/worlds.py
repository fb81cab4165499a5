"""The worlds: what is explained, where its truth is known, and which real data stand beside it."""

from collections.abc import Callable
from typing import NamedTuple


class World(NamedTuple):
    """A performer with its data and concepts.

    Attributes:
        name: Of the world.
        overrides: Its experiment.
        shapley: Concepts whose exact Shapley values are computed by drawing all their states; none on real data.
        images: Test images that rivals are measured on; None: all.
        redrawn: Test images that are drawn again for their truth.
        shared: Whether concepts are outputs of the head (Case 2), otherwise they are filters (Case 1).
    """

    name: str
    overrides: tuple[str, ...]
    shapley: tuple[str, ...]
    images: int | None
    redrawn: int
    shared: bool


# The explainers that are trained, and their options.
TRAINED = {
    "semexplain": ("method=semexplain",),
    "paper": (),
    "paper, no prior": ("beta=0",),
    "paper, centred": ("module.centre=true",),
    "semexplain on shuffled concepts": ("method=semexplain", "control=shuffled"),
    "paper on shuffled concepts": ("control=shuffled",),
    "semexplain on a redrawn head": ("method=semexplain", "control=redrawn"),
}
ONCE = {"shuffled", "redrawn", "centred"}  # those that are there to compare with are trained with one seed

# Causes of Attractive that this performer sees; some go together (smiling and high cheekbones), some interact.
CAUSES = (
    *("Arched_Eyebrows", "Bags_Under_Eyes", "Chubby", "Eyeglasses", "Gray_Hair"),
    *("High_Cheekbones", "Oval_Face", "Smiling", "Wavy_Hair", "Wearing_Lipstick"),
)
DRAWN = (
    World("drawn faces", ("experiment=known_faces",), CAUSES, 200, 200, True),
    World(
        "drawn animals",
        ("experiment=known_animals",),
        ("eye", "mouth_and_nose", "ear", "torso", "leg", "tail"),
        None,
        100,
        False,
    ),
)
REAL = {
    "faces": World("real faces", ("experiment=celeba_attractive", "scale=laptop"), (), 100, 0, True),
    "animals": World("real dogs", ("experiment=pascal_part_dog", "scale=laptop"), (), 60, 0, False),
}


class Contestant(NamedTuple):
    """A rival, what it costs, how often it is measured and which worlds it can explain.

    Attributes:
        rival: Its option.
        passes: Through the head, from the number of concepts, without what a game costs to set up.
        game: Whether it takes concepts away. For outputs of a head that costs a backward pass for each to set up.
        seeds: Options that take the seed where chance is part of it: measured with every seed, otherwise once.
        shared: Whether for Case 2 (True), Case 1 (False) or both (None).
        options: Of the rival.
    """

    rival: str
    passes: Callable[[int], int]
    game: bool = True
    seeds: tuple[str, ...] = ()
    shared: bool | None = None
    options: tuple[str, ...] = ()

    def cost(self, n: int, shared: bool) -> float:
        """Passes for an image with ``n`` concepts; a backward pass counts as two."""
        return float(self.passes(n) + (2 * n if self.game and shared else 0))


SEED = ("++rival.seed={seed}",)
RIVALS = (
    Contestant("gradient_times_activation", lambda n: 3),
    Contestant("integrated_gradients", lambda n: 3 * 16, options=("rival.steps=16",)),
    Contestant("feature_ablation", lambda n: n + 1),
    Contestant("shapley_sampling", lambda n: 10 * n, seeds=SEED, shared=True, options=("rival.n_samples=10",)),
    Contestant("kernel_shap", lambda n: 2048, seeds=SEED, shared=True),
    Contestant("lime", lambda n: 1000, seeds=SEED, shared=True),
    # Filters are many and so are the images: fewer samples.
    Contestant("shapley_sampling", lambda n: 2 * n, seeds=SEED, shared=False, options=("rival.n_samples=2",)),
    Contestant("kernel_shap", lambda n: 512, seeds=SEED, shared=False, options=("rival.n_samples=512",)),
    Contestant("lime", lambda n: 512, seeds=SEED, shared=False, options=("rival.n_samples=512",)),
    Contestant("concept_vectors", lambda n: 3, game=False),
    Contestant("zennit_relevance", lambda n: 3, game=False, shared=False),
    Contestant("linear_map", lambda n: 0, game=False),
    Contestant("elastic_net", lambda n: 0, game=False),
    Contestant("masked_network", lambda n: 1, game=False, seeds=SEED),
    Contestant("prior_only", lambda n: 2 * n + 3, game=False, shared=True),
    Contestant("prior_only", lambda n: 3, game=False, shared=False),
    Contestant("random", lambda n: 0, game=False, seeds=SEED),
)
