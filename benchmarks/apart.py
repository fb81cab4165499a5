"""Parts of a benchmark in processes of their own, as many at a time as there are cores."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run_apart(module: str, parts: Mapping[str, Sequence[str]]) -> int:
    """Run a module with each of several command lines, with one thread, so that times are comparable.

    Args:
        module: Such as ``benchmarks.parts``.
        parts: Words of each command line, by what it is called.

    Returns:
        How many failed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def failed(name: str) -> bool:
        print(f"{name} …\n", end="", flush=True)  # in one piece: others print beside
        command = [sys.executable, "-m", module, *parts[name]]
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode != 0

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return sum(pool.map(failed, parts))
