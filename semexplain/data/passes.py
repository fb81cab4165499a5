"""Passes over the data that several readers share: every batch is made once."""

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from math import inf
from typing import Any, Generic, TypeVar

Batch = TypeVar("Batch")
AHEAD = 2  # batches by which the fastest reader may lead the slowest


class SharedPass(Generic[Batch]):
    """One pass over the data for readers in several threads.

    The first reader that needs a batch makes it; it is kept until all have had it. A reader that is ``ahead`` batches
    before another one waits, so memory stays bounded.

    Args:
        source: The batches; iterated once.
        readers: How many there are.
        ahead: Batches that may be kept at most.
    """

    def __init__(self, source: Iterable[Batch], readers: int, ahead: int = AHEAD) -> None:
        self._source = iter(source)
        self._ahead = ahead
        self._turn = threading.Condition()
        self._kept: deque[Batch] = deque()
        self._first = 0  # number of the batch that is kept first
        self._next: list[float] = [0] * readers  # number of the batch that a reader takes next
        self._end: float = inf
        self._error: BaseException | None = None

    def read(self, reader: int) -> Iterator[Batch]:
        """The batches, in order; an error of the source is raised for every reader."""
        while True:
            with self._turn:
                number = int(self._next[reader])
                while self._error is None and number >= min(self._next) + self._ahead:
                    self._turn.wait()
                if number == self._first + len(self._kept) and number < self._end and self._error is None:
                    self._make()
                if self._error is not None:
                    raise self._error
                if number >= self._end:
                    return
                batch = self._kept[number - self._first]
                self._next[reader] = number + 1
                self._forget()
            yield batch

    def leave(self, reader: int) -> bool:
        """Let the others no longer wait for a reader; says whether none is left."""
        with self._turn:
            self._next[reader] = inf
            self._forget()
            return min(self._next) == inf

    def end(self, error: BaseException) -> None:
        """Raise an error for every reader that asks for another batch."""
        with self._turn:
            self._error = self._error or error
            self._turn.notify_all()

    def close(self) -> None:
        """End the source; no reader may be left."""
        self._kept.clear()
        if isinstance(self._source, Generator):
            self._source.close()

    def _make(self) -> None:
        try:
            self._kept.append(next(self._source))
        except StopIteration:
            self._end = self._first + len(self._kept)
        except BaseException as error:
            self._error = error
            self._turn.notify_all()

    def _forget(self) -> None:
        while self._kept and self._first < min(self._next):
            self._kept.popleft()
            self._first += 1
        self._turn.notify_all()


class SharedPasses(Generic[Batch]):
    """All passes that several readers make, each in its own thread, of whatever kinds.

    A reader's third training pass, say, is every reader's third training pass.

    Args:
        make: The batches of a pass, given its kind and how many of that kind there were before.
        readers: How many there are; all of them make the same passes, unless they leave.

    Example:
        >>> passes = SharedPasses(lambda kind, number: iter([f"{kind} {number}"]), readers=2)
        >>> [list(passes.read("train", reader)) for reader in (0, 1, 0)]
        [['train 0'], ['train 0'], ['train 1']]
    """

    def __init__(self, make: Callable[[str, int], Iterable[Batch]], readers: int) -> None:
        self._make = make
        self._readers = readers
        self._lock = threading.Lock()
        self._begun: dict[tuple[str, int], int] = defaultdict(int)  # by kind and reader
        self._passes: dict[tuple[str, int], SharedPass[Batch]] = {}
        self._left: set[tuple[str | None, int]] = set()  # kinds, or all, that a reader makes no more passes of
        self._error: BaseException | None = None

    def read(self, kind: str, reader: int) -> Iterator[Batch]:
        """The batches of a reader's next pass of a kind."""
        with self._lock:
            if self._error is not None:
                raise self._error
            place = kind, self._begun[kind, reader]
            self._begun[kind, reader] += 1
            if place not in self._passes:
                self._passes[place] = SharedPass(self._make(*place), self._readers)
                for absent in range(self._readers):
                    if {(None, absent), (kind, absent)} & self._left:
                        self._passes[place].leave(absent)
            shared = self._passes[place]
        try:
            yield from shared.read(reader)
        finally:
            with self._lock:
                self._leave(place, reader)

    def leave(self, reader: int, *kinds: str) -> None:
        """A reader makes no more passes, of some kinds or at all."""
        with self._lock:
            self._left |= {(kind, reader) for kind in kinds or (None,)}
            for place in list(self._passes):
                if not kinds or place[0] in kinds:
                    self._leave(place, reader)

    def end(self, error: BaseException) -> None:
        """Raise an error for every reader that asks for another batch."""
        with self._lock:
            self._error = error
            for shared in self._passes.values():
                shared.end(error)

    def _leave(self, place: tuple[str, int], reader: int) -> None:
        if place in self._passes and self._passes[place].leave(reader):
            self._passes.pop(place).close()


class PassLoader:
    """A reader's loader of one kind: every iteration is its next pass.

    The batches are of two parts, ``shared`` by all readers and ``own`` of each.

    Args:
        passes: The passes.
        kind: Of them.
        reader: Its number.
        length: Batches of a pass.
    """

    def __init__(self, passes: SharedPasses[dict[str, Any]], kind: str, reader: int, length: int) -> None:
        self.passes = passes
        self.kind = kind
        self.reader = reader
        self.length = length

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.passes.read(self.kind, self.reader):
            yield {**batch["shared"], **batch["own"][self.reader]}

    def __len__(self) -> int:
        return self.length
