"""Run a script or a module under a profiler of processor time: ``python profiled.py FILE (SCRIPT | -m MODULE) ...``."""

import cProfile
import runpy
import sys
import time


def main() -> None:
    """Write what was spent where to the file, however the script ends."""
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


if __name__ == "__main__":
    main()
