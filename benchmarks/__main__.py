"""Run all benchmarks, one process each, and write results.md, .json and .png: ``python benchmarks FOLDER``."""

import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from semexplain.system.trouble import told

HERE = Path(__file__).parent
SCRIPTS = ("step", "prior", "cache", "explain", "overhead", "growth")
GROWTH = "| what | over | medians | unit |\n|---|---|---|---|\n"
HEAD = "| goal | what | goal | median | from, to (repetitions) | met |\n|---|---|---|---|---|---|\n"


def main() -> int:
    """Returns how many scripts failed."""
    from measure import Curve, Goal, machine
    from plot import plot

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("outputs/benchmarks")
    folder.mkdir(parents=True, exist_ok=True)
    goals: list[dict] = []
    curves: list[dict] = []
    failed = 0
    for name in SCRIPTS:
        if name == "explain" and not (find_spec("captum") and find_spec("shap")):
            print("explain: left out, captum or shap is not installed (pip install -e '.[bench]')", flush=True)
            continue
        print(f"{name} …", flush=True)
        with tempfile.TemporaryDirectory() as temporary:
            result = Path(temporary) / "result.json"
            failed += subprocess.run([sys.executable, HERE / f"{name}.py", result], check=False).returncode != 0
            if result.exists():
                own = json.loads(result.read_text())
                goals += own["goals"]
                curves += own["curves"]
    goals.sort(key=lambda goal: (len(goal["name"]), goal["name"]))
    fields = Goal.__dataclass_fields__
    rows = [Goal(**{key: value for key, value in goal.items() if key in fields}).row() for goal in goals]
    grown = [Curve(**curve) for curve in curves]
    tables = [HEAD + "\n".join(rows), GROWTH + "\n".join(curve.row() for curve in grown)]
    (folder / "results.md").write_text("\n\n".join([machine(), *tables]) + "\n", encoding="utf-8")
    results = {"machine": machine(), "goals": goals, "curves": curves}
    (folder / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    plot(grown, folder / "results.png")
    print(f"Written to {folder / 'results.md'}.")
    return failed


if __name__ == "__main__":
    with told():
        sys.exit(main())
