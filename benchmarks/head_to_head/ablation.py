"""What each part of the method is worth, alone and together: ``python -m benchmarks.head_to_head.ablation``."""

import argparse
import sys
from pathlib import Path

from semexplain.system.files import write_text
from semexplain.system.quiet import hush
from semexplain.system.trouble import told

from .measure import keep_trained
from .records import load_all
from .table import table
from .worlds import DRAWN, REAL, World

CENTRED = ("module.centre=true",)
HIDDEN = ("explainer=linear", "module.reads=hidden", "scheduler=cosine", "optimizer.lr=1e-3", "trainer.max_epochs=60")
# The method with one part left out or more, then single parts of it on top of the paper's explainer.
OUTPUTS: dict[str, tuple[str, ...]] = {
    "all: semexplain": ("method=semexplain",),
    "all but the correction": ("method=semexplain", "optimizer.lr=1e-12"),
    "all but the prior: ridge alone": ("method=semexplain", "start=linear_map", "start.shrinkage=0.25"),
    "all but prior and ridge: least squares": ("method=semexplain", "start=linear_map", "start.shrinkage=0"),
    "all but centred": ("method=semexplain", "module.centre=false"),
    "all but centred, on shuffled concepts": ("method=semexplain", "module.centre=false", "control=shuffled"),
    "all, on shuffled concepts": ("method=semexplain", "control=shuffled"),
    "all but the price of corrections": ("method=semexplain", "module.correction_weight=0"),
    "all, more prior (share 0.7, ridge 1)": (
        "method=semexplain",
        "start=prior",
        "start.share=0.7",
        "start.shrinkage=1",
    ),
    "all, and ablations": ("method=semexplain", "module.ablations=1"),
    "paper, reads the last hidden layer": HIDDEN,
    "paper, centred, reads the last hidden layer": (*CENTRED, *HIDDEN),
    "paper": (),
    "paper, centred": CENTRED,
    "paper, starts at prior and ridge": ("start=prior", "beta=0"),
}
SIGNED = ("explainer.output=identity", "prior_loss=l2", "prior.clamp=false")
GRADIENT = (*SIGNED, "start=gradient_times_activation", "beta=0")
FILTERS: dict[str, tuple[str, ...]] = {
    "all: semexplain": ("method=semexplain",),
    "all but ablations": ("method=semexplain", "module.ablations=0"),
    "all but the correction": ("method=semexplain", "optimizer.lr=1e-12"),
    "all, starts at integrated gradients": ("method=semexplain", "start=gradient_times_activation", "start.steps=8"),
    "all, on shuffled concepts": ("method=semexplain", "control=shuffled"),
    "paper, starts at gradient x activation": GRADIENT,
    "paper": (),
    "paper, signed weights": (*SIGNED, "start=least_squares"),
    "paper, signed weights, ablations": (*SIGNED, "start=least_squares", "module.ablations=1"),
}


def main() -> int:
    """Train every arm in a world and write the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.head_to_head.ablation")
    parser.add_argument("--out", type=Path, default=Path("outputs/ablation"))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--world", choices=[world.name for world in (*DRAWN, *REAL.values())], default=DRAWN[0].name)
    parser.add_argument("--extra", nargs="*", default=[], help="where things are, for example data.root=...")
    given = parser.parse_args()
    hush()
    world: World = {world.name: world for world in (*DRAWN, *REAL.values())}[given.world]
    folder = given.out / world.name.replace(" ", "_")
    arms = OUTPUTS if world.shared else FILTERS
    for name, options in arms.items():
        keep_trained(world, name, options, given.seeds, given.extra, folder)
    order = list(arms)
    records = sorted(load_all(folder), key=lambda record: order.index(record.method))
    text = table(records, world.name)
    write_text(folder / "results.md", text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    with told():
        sys.exit(main())
