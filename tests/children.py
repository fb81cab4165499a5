"""Other processes that are killed in the middle of their work."""

import os
import signal
import time
import warnings
from collections.abc import Callable


def started(work: Callable[[Callable[[], None]], None]) -> int:
    """A child that does some work until it calls what it is given, and then stays there; returns its number."""
    ready, done = os.pipe()

    def stay() -> None:
        os.write(done, b"!")
        time.sleep(600)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This process .* is multi-threaded")
        child = os.fork()
    if child == 0:
        try:
            work(stay)
        finally:
            os._exit(1)
    os.close(done)
    reached = os.read(ready, 1)
    os.close(ready)
    assert reached, "the child failed"
    return child


def kill(child: int) -> None:
    """End it at once, and wait until it has ended."""
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
