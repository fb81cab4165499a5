"""Run all benchmarks, one process each, and write ``results.md`` and ``results.json``: ``python benchmarks FOLDER``."""

import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
SCRIPTS = ("step", "prior", "cache", "explain", "overhead")
HEAD = "| goal | what | goal | median | from, to (repetitions) | met |\n|---|---|---|---|---|---|\n"


def main() -> int:
    """Returns how many scripts failed."""
    from measure import Goal, machine

    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("outputs/benchmarks")
    folder.mkdir(parents=True, exist_ok=True)
    rows, figures, failed = [], [], 0
    for name in SCRIPTS:
        if name == "explain" and find_spec("captum") is None:
            print("explain: left out, captum is not installed (pip install -e '.[bench]')", flush=True)
            continue
        print(f"{name} …", flush=True)
        with tempfile.TemporaryDirectory() as temporary:
            result = Path(temporary) / "result.json"
            failed += subprocess.run([sys.executable, HERE / f"{name}.py", result], check=False).returncode != 0
            if result.exists():
                own = json.loads(result.read_text())
                figures += own
                fields = Goal.__dataclass_fields__
                rows += [Goal(**{key: value for key, value in goal.items() if key in fields}).row() for goal in own]
    rows.sort(key=lambda row: (len(row.split("|")[1]), row.split("|")[1]))
    (folder / "results.md").write_text(f"{machine()}\n\n{HEAD}" + "\n".join(rows) + "\n", encoding="utf-8")
    (folder / "results.json").write_text(
        json.dumps({"machine": machine(), "goals": figures}, indent=1), encoding="utf-8"
    )
    print(f"Written to {folder / 'results.md'}.")
    return failed


if __name__ == "__main__":
    sys.exit(main())
