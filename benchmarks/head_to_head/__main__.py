"""The head-to-head: ``python -m benchmarks.head_to_head [--out FOLDER]``; what was measured before is kept."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from benchmarks.apart import run_apart
from semexplain.runs.explainer import composed
from semexplain.system.files import write_text
from semexplain.system.quiet import hush
from semexplain.system.trouble import told

from .figures import agreement_over_cost, deviation_and_control
from .measure import keep_trained, rival_record
from .records import Record, load_all
from .table import table
from .verdict import verdict
from .worlds import DRAWN, ONCE, REAL, RIVALS, TRAINED, World


def main() -> int:
    """Measure every world, as many at a time as there are cores, and write results.md and figures; 0 if all is well."""
    named = {world.name: world for world in (*DRAWN, *REAL.values())}
    parser = argparse.ArgumentParser(prog="benchmarks.head_to_head", description="Who explains best?")
    parser.add_argument("--out", type=Path, default=Path("outputs/head_to_head"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--world", choices=list(named), help="measure this one only, in this process")
    parser.add_argument("--faces", nargs="*", default=[], help="where the real faces are, for example data.root=...")
    parser.add_argument("--animals", nargs="*", default=[], help="where the real animals are")
    given = parser.parse_args()
    extra = {REAL["faces"].name: given.faces, REAL["animals"].name: given.animals}
    missing = []
    for world in REAL.values():
        root = composed("train", [*world.overrides, *extra[world.name]]).data.root
        if not Path(root).is_dir():
            if extra[world.name] or given.world == world.name:
                parser.error(f"the images of {world.name} should be in {root}, but there is no such folder (data.root)")
            missing.append(world)
    given.out.mkdir(parents=True, exist_ok=True)
    if given.world:
        measure_world(
            named[given.world], given.seeds, extra.get(given.world, []), given.out / given.world.replace(" ", "_")
        )
        return 0
    worlds = [world for world in named.values() if world not in missing]
    failed = run_apart(
        "benchmarks.head_to_head", {world.name: [*sys.argv[1:], "--world", world.name] for world in worlds}
    )
    report(load_all(given.out), given.out, missing)
    return failed


def measure_world(world: World, seeds: int, extra: Sequence[str], folder: Path) -> None:
    """All explainers with every seed (controls with one), then all rivals; a record that exists is kept."""
    hush()
    warnings.filterwarnings("ignore", module="captum|zennit|sklearn")
    for name, options in TRAINED.items():
        keep_trained(world, name, options, 1 if ONCE & set(name.split()) else seeds, extra, folder)
    run = folder / "paper_centred-0"  # so that all measure concepts from their means
    for contestant in RIVALS:
        if contestant.shared not in (None, world.shared):
            continue
        for seed in range(seeds if contestant.seeds else 1):
            path = folder / "records" / f"{contestant.rival}-{seed}" / "record.json"
            if path.exists():
                continue
            try:
                rival_record(world, contestant, seed, run, folder).save(path)
            except ImportError as error:
                print(f"{world.name}: {contestant.rival} is left out: {error}", flush=True)


def report(records: Sequence[Record], folder: Path, absent: Sequence[World]) -> None:
    """``results.md`` with a table and a verdict for every world, and the figures."""
    names = list(dict.fromkeys(record.world for record in records))
    parts = ["# Head-to-head", "Means over seeds ± half of the 95 % interval; one thread; test images only."]
    for name in names:
        ceiling = [r.numbers["truth_ceiling"] for r in records if r.world == name and "truth_ceiling" in r.numbers]
        known = f"The two truths themselves agree at {ceiling[0]:.3f}, which is the ceiling." if ceiling else ""
        figure = f"{name.replace(' ', '_')}.png"
        agreement_over_cost(records, name).savefig(folder / figure)
        parts += [f"## {name}", verdict(records, name), known, table(records, name), f"![]({figure})"]
    deviation_and_control(records, names).savefig(folder / "controls.png")
    parts += ["## Controls", "![](controls.png)"]
    parts += [f"Left out: {world.name}, whose files are not there." for world in absent]
    text = "\n\n".join(part for part in parts if part)
    write_text(folder / "results.md", text + "\n")
    print(text)


if __name__ == "__main__":
    with told():
        sys.exit(main())
