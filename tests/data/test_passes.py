"""Passes that several readers share: every batch is made once, memory is bounded, and nobody waits for the absent."""

import threading
import time
from collections.abc import Iterator

import pytest

from semexplain.data.passes import AHEAD, PassLoader, SharedPass, SharedPasses


def in_threads(readers: int, read) -> list:
    """What each reader returns; a reader that waits for ever fails the test and does not hold it up."""
    results = {}
    threads = [
        threading.Thread(target=lambda number=number: results.update({number: read(number)}), daemon=True)
        for number in range(readers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert len(results) == readers, "a reader waits for ever, or has failed"
    return [results[number] for number in range(readers)]


def test_every_reader_gets_every_batch_and_each_is_made_once():
    made = []

    def source() -> Iterator[int]:
        for number in range(50):
            made.append(number)
            yield number

    shared = SharedPass(source(), readers=4)
    assert in_threads(4, lambda reader: list(shared.read(reader))) == [list(range(50))] * 4
    assert made == list(range(50))


def test_a_fast_reader_waits_for_a_slow_one():
    shared, lead = SharedPass(iter(range(20)), readers=2), []
    taken = [0, 0]

    def read(reader: int) -> None:
        for _ in shared.read(reader):
            taken[reader] += 1
            lead.append(taken[0] - taken[1])
            if reader == 1:
                time.sleep(0.002)

    in_threads(2, read)
    assert taken == [20, 20]
    assert max(lead) <= AHEAD + 1  # counted a moment after the batch was taken


def test_an_error_of_the_source_is_everybodys():
    def source() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    shared = SharedPass(source(), readers=2)

    def read(reader: int) -> str:
        with pytest.raises(OSError, match="the disk is gone") as error:
            list(shared.read(reader))
        return str(error.value)

    assert in_threads(2, read) == ["the disk is gone"] * 2


def test_a_reader_that_leaves_is_not_waited_for():
    passes = SharedPasses(lambda kind, number: iter(range(10)), readers=2)

    def read(reader: int) -> list[int]:
        if reader == 0:
            passes.leave(0)
            return []
        return [*passes.read("train", 1), *passes.read("train", 1)]

    assert in_threads(2, read) == [[], [*range(10), *range(10)]]


def test_a_pass_that_is_broken_off_is_not_waited_for():
    passes = SharedPasses(lambda kind, number: iter(range(10)), readers=2)
    barrier = threading.Barrier(2, timeout=10)

    def read(reader: int) -> int:
        batches = passes.read("train", reader)
        first = next(batches)
        barrier.wait()
        if reader == 0:
            batches.close()
            return first
        return len(list(batches))

    assert in_threads(2, read) == [0, 9]


def test_readers_that_stop_training_at_different_times_meet_again_in_the_test():
    passes = SharedPasses(lambda kind, number: iter([(kind, n) for n in range(10)]), readers=2)

    def read(reader: int) -> int:
        epochs = 2 + reader
        batches = [batch for _ in range(epochs) for kind in ("train", "val") for batch in passes.read(kind, reader)]
        passes.leave(reader, "train", "val")
        return len(batches) + len(list(passes.read("test", reader)))

    assert in_threads(2, read) == [50, 70]


def test_an_end_from_outside_is_every_readers_and_of_all_passes():
    passes = SharedPasses(lambda kind, number: iter(range(10)), readers=2)
    barrier = threading.Barrier(2, timeout=10)

    def read(reader: int) -> str:
        batches = passes.read("train", reader)
        next(batches)
        barrier.wait()
        if reader == 0:
            passes.end(RuntimeError("enough"))
        else:
            with pytest.raises(RuntimeError, match="enough"):
                list(batches)
        with pytest.raises(RuntimeError, match="enough"):
            next(passes.read("val", reader))
        return "ended"

    assert in_threads(2, read) == ["ended"] * 2


def test_a_pass_that_all_have_left_is_closed_and_forgotten():
    closed = []

    def source(kind: str, number: int) -> Iterator[int]:
        try:
            yield from range(10)
        finally:
            closed.append((kind, number))

    passes = SharedPasses(source, readers=2)

    def read(reader: int) -> None:
        for _ in range(3):
            batches = passes.read("train", reader)
            next(batches)
            batches.close()

    in_threads(2, read)
    assert closed == [("train", 0), ("train", 1), ("train", 2)]
    assert passes._passes == {}


def test_passes_of_a_kind_are_counted_for_each_reader():
    passes = SharedPasses(lambda kind, number: iter([(kind, number)]), readers=2)
    wanted = ["train", "val", "train", "val"]

    def read(reader: int) -> list:
        return [batch for kind in wanted for batch in passes.read(kind, reader)]

    assert in_threads(2, read) == [[("train", 0), ("val", 0), ("train", 1), ("val", 1)]] * 2


def test_a_loader_joins_what_is_shared_with_what_is_its_own():
    passes = SharedPasses(lambda kind, number: iter([{"shared": {"x": 1}, "own": [{"y": 2}, {"y": 3}]}]), readers=2)
    loaders = [PassLoader(passes, "val", reader, 1) for reader in (0, 1)]
    assert [list(loader) for loader in loaders] == [[{"x": 1, "y": 2}], [{"x": 1, "y": 3}]]
    assert len(loaders[0]) == 1
