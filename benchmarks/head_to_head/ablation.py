"""What each part of the method is worth, alone and together: ``python -m benchmarks.head_to_head.ablation``."""

import argparse
import sys
from pathlib import Path

from semexplain.files import write_text
from semexplain.notices import hush

from .measure import trained_record
from .records import load_all
from .table import table
from .worlds import DRAWN, REAL, World

CENTRED = ("module.centre=true",)
HIDDEN = ("explainer=linear", "module.reads=hidden", "scheduler=cosine", "optimizer.lr=1e-3", "trainer.max_epochs=40")
JOINT = ("prior=joint_ratio", "beta=0")
# Each of the method's parts alone on top of the paper's explainer, then one after the other, then one left out.
OUTPUTS: dict[str, tuple[str, ...]] = {
    "paper": (),
    "centred": CENTRED,
    "reads the last hidden layer": HIDDEN,
    "starts at a ridge regression": ("start=linear_map",),
    "starts at prior and ridge": ("start=prior", *JOINT),
    "centred, ablations": (*CENTRED, "module.ablations=1"),
    "centred, hidden": (*CENTRED, *HIDDEN),
    "centred, hidden, ridge": (*CENTRED, *HIDDEN, "start=linear_map", "beta=0"),
    "centred, hidden, prior and ridge": (*CENTRED, *HIDDEN, "start=prior", *JOINT),
    "all: semexplain": ("method=semexplain",),
    "all, and ablations": ("method=semexplain", "module.ablations=1"),
    "all, more prior (share 0.5, ridge 1)": ("method=semexplain", "start.share=0.5", "start.shrinkage=1"),
    "all but centred": ("method=semexplain", "module.centre=false"),
    "all, on shuffled concepts": ("method=semexplain", "control=shuffled"),
    "all but centred, on shuffled concepts": ("method=semexplain", "module.centre=false", "control=shuffled"),
}
SIGNED = ("explainer.output=identity", "explainer.head_init=linear", "prior_loss=l2", "prior.clamp=false")
GRADIENT = (*SIGNED, "start=gradient_times_activation", "beta=0")
FILTERS: dict[str, tuple[str, ...]] = {
    "paper": (),
    "signed weights": SIGNED,
    "ablations": ("module.ablations=1",),
    "signed weights, ablations": (*SIGNED, "module.ablations=1"),
    "starts at gradient x activation": GRADIENT,
    "starts at integrated gradients": (*GRADIENT, "start.steps=8"),
    "gradient x activation, ablations": (*GRADIENT, "module.ablations=1"),
    "gradient x activation, hidden": (*GRADIENT, *HIDDEN),
    "all: semexplain": ("method=semexplain",),
    "all, on shuffled concepts": ("method=semexplain", "control=shuffled"),
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
    for name, options in (OUTPUTS if world.shared else FILTERS).items():
        for seed in range(given.seeds):
            path = folder / "records" / f"{name.replace(' ', '_').replace('/', '_')}-{seed}" / "record.json"
            if not path.exists():
                trained_record(world, name, options, seed, given.extra, folder).save(path)
    order = list(OUTPUTS if world.shared else FILTERS)
    records = sorted(load_all(folder), key=lambda record: order.index(record.method))
    text = table(records, world.name)
    write_text(folder / "results.md", text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
