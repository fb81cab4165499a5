"""Run a script or a module under a profiler of processor time, with nothing of this package imported before it."""

import cProfile
import runpy
import sys
import time


def main() -> None:
    """Write what was spent where to a file, however the script ends; ``sys.argv[1:]``: FILE (SCRIPT | -m MODULE) ..."""
    file, *sys.argv = sys.argv[1:]
    profile = cProfile.Profile(time.process_time)
    profile.enable()
    try:
        if sys.argv[0] == "-m":
            del sys.argv[0]
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        profile.disable()
        profile.dump_stats(file)
