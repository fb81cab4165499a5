"""Loaders whose order is a pure function of seed and epoch, so that runs resume exactly and every image counts once."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from semexplain.system.processes import process

Batch = TypeVar("Batch")


def generator(seed: int, *key: int) -> torch.Generator:
    """A source of random numbers that depends on the seed and the key alone, never on what was drawn before.

    Neighbouring keys give unrelated streams: ``seed + epoch``, the usual shortcut, would give epoch 1 of seed 0
    the order of epoch 0 of seed 1.

    Example:
        >>> first, again = generator(0, 3), generator(0, 3)
        >>> bool(torch.equal(torch.randperm(9, generator=first), torch.randperm(9, generator=again)))
        True
    """
    state = np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


class EpochSampler(Sampler[int]):
    """Training order: one permutation per (seed, epoch), dealt out to the processes like cards.

    Every process gets the same number of samples, since an uneven share would leave the others waiting for its
    gradients; the ``size % world`` samples left over differ from epoch to epoch.

    Args:
        samples: Number of samples in the data set, or the samples of one pass over it, some perhaps more than once.
        seed: Seed of the run.
        rank: Share to draw. By default that of this process, read when iterating.
        world: Number of shares. By default the number of processes.

    Raises:
        ValueError: If there are fewer samples than processes.

    Example:
        >>> sampler = EpochSampler(6, seed=0)
        >>> first = list(sampler)
        >>> sorted(first)
        [0, 1, 2, 3, 4, 5]
        >>> sampler.set_epoch(1)
        >>> list(sampler) == first
        False
    """

    def __init__(
        self,
        samples: int | Sequence[int] | np.ndarray,
        *,
        seed: int = 0,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        self.samples = _pass(samples)
        self.size = len(self.samples)
        self.seed = seed
        self.rank = rank
        self.world = world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the permutation; Lightning calls this before every epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        rank, world = _share(self.rank, self.world)
        order = torch.randperm(self.size, generator=generator(self.seed, self.epoch)).numpy()
        yield from self.samples[order][rank::world][: len(self)].tolist()

    def __len__(self) -> int:
        _, world = _share(self.rank, self.world)
        if self.size < world:
            raise ValueError(
                f"Training on {world} processes needs at least {world} samples, the data set has {self.size}. "
                "Use fewer devices or more data."
            )
        return self.size // world


class UnpaddedSampler(Sampler[int]):
    """Evaluation order: every sample exactly once over all processes.

    ``DistributedSampler`` repeats samples until the shares are even, which changes every metric: 10 samples on 3
    processes count as 12. Here the shares differ by at most one sample instead.

    Args:
        samples: Number of samples in the data set, or the samples of one pass over it, some perhaps more than once.
        rank: Share to draw. By default that of this process, read when iterating.
        world: Number of shares. By default the number of processes.

    Example:
        >>> [list(UnpaddedSampler(10, rank=rank, world=3)) for rank in range(3)]
        [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]
    """

    def __init__(
        self, samples: int | Sequence[int] | np.ndarray, *, rank: int | None = None, world: int | None = None
    ) -> None:
        self.samples = _pass(samples)
        self.size = len(self.samples)
        self.rank = rank
        self.world = world

    def __iter__(self) -> Iterator[int]:
        rank, world = _share(self.rank, self.world)
        yield from self.samples[rank::world].tolist()

    def __len__(self) -> int:
        rank, world = _share(self.rank, self.world)
        return len(range(rank, self.size, world))


class ResumableBatches(BatchSampler):
    """Batches of indices that can start in the middle of an epoch without a look at the images before it.

    With ``drop_last`` an incomplete last batch is left out, as batch normalisation cannot train on a single image,
    unless it is the only one: a set smaller than a batch is one batch.

    Args:
        sampler: Order of the samples.
        batch_size: Samples per batch.
        drop_last: Leave out an incomplete last batch.

    Attributes:
        start: Number of batches that the next iteration skips; it falls back to 0 once used.

    Example:
        >>> batches = ResumableBatches(UnpaddedSampler(5), batch_size=2, drop_last=False)
        >>> batches.start = 1
        >>> list(batches)
        [[2, 3], [4]]
        >>> list(ResumableBatches(UnpaddedSampler(5), batch_size=2, drop_last=True))
        [[0, 1], [2, 3]]
        >>> list(ResumableBatches(UnpaddedSampler(5), batch_size=8, drop_last=True))
        [[0, 1, 2, 3, 4]]
    """

    sampler: Sampler[int]

    def __init__(self, sampler: Sampler[int], batch_size: int, drop_last: bool) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.start = 0

    def __iter__(self) -> Iterator[list[int]]:
        start, self.start = self.start, 0
        indices = list(self.sampler)
        for batch in range(start, len(self)):
            yield indices[batch * self.batch_size : (batch + 1) * self.batch_size]

    def __len__(self) -> int:
        samples = len(self.sampler)  # type: ignore[arg-type]
        complete, rest = divmod(samples, self.batch_size)
        if self.drop_last and complete:
            return complete
        return complete + bool(rest)


class ResumableLoader(DataLoader[dict[str, Tensor]]):
    """A data loader that continues in the middle of an epoch with the very batch that would have come next.

    Lightning saves and restores the state of any loader that has ``state_dict`` and ``load_state_dict``. The state
    counts the batches handed out, not those that worker processes have prepared. It belongs to an epoch: once the
    sampler has moved on to another one, the loader starts at its first batch. Iterating draws nothing from the
    global random number generator.

    A data set with ``set_epoch`` is told the epoch of its sampler, for augmentation that depends on it.

    Args:
        dataset: Samples, or whole batches through ``__getitems__``.
        sampler: Order of the samples, usually an :class:`EpochSampler` or an :class:`UnpaddedSampler`.
        batch_size: Samples per batch.
        drop_last: Leave out an incomplete last batch, unless it is the only one.
        num_workers: Worker processes; 0 reads in the main process.
        collate_fn: Turns what the data set returns into a batch.
        ahead: Let a thread read the next batch while this one is used. Without worker processes only.
        pin_memory: Put batches where a GPU copies them from while it computes; by default if there is a GPU. Data
            that lie on the GPU already cannot be.

    Raises:
        ValueError: On resuming within an epoch that was begun with other batches.

    Example:
        >>> loader = ResumableLoader(range(6), UnpaddedSampler(6), batch_size=2)
        >>> iterator = iter(loader)
        >>> next(iterator), next(iterator)
        (tensor([0, 1]), tensor([2, 3]))
        >>> resumed = ResumableLoader(range(6), UnpaddedSampler(6), batch_size=2)
        >>> resumed.load_state_dict(loader.state_dict())
        >>> list(resumed)
        [tensor([4, 5])]
    """

    batch_sampler: ResumableBatches

    def __init__(
        self,
        dataset: Dataset[Any],
        sampler: Sampler[int],
        batch_size: int,
        *,
        drop_last: bool = False,
        num_workers: int = 0,
        collate_fn: Callable[[Any], dict[str, Tensor]] | None = None,
        ahead: bool = False,
        pin_memory: bool | None = None,
    ) -> None:
        self.ahead = ahead and num_workers == 0
        self._done = 0
        self._epoch = 0
        self._resume: dict[str, int] | None = None
        super().__init__(
            dataset,
            batch_sampler=ResumableBatches(sampler, batch_size, drop_last),
            num_workers=num_workers,
            collate_fn=collate_fn,
            pin_memory=torch.cuda.is_available() if pin_memory is None else pin_memory,
            persistent_workers=num_workers > 0,
            generator=torch.Generator().manual_seed(0),
        )

    def __iter__(self) -> Iterator[dict[str, Tensor]]:  # type: ignore[override]
        # A generator runs only when the first batch is asked for. Lightning creates the iterator before it sets the
        # epoch; an eager one would prefetch the batches of the wrong epoch.
        self._epoch = self._sampler_epoch()
        self._done = self.batch_sampler.start = self._first_batch()
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(self._epoch)
        batches = super().__iter__()
        for batch in read_ahead(batches) if self.ahead else batches:
            self._done += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Epoch, batches handed out in it, and what has to agree for these numbers to mean the same batches."""
        if self._resume is not None:
            return dict(self._resume)
        return {"epoch": self._epoch, "batches": self._done, **self._shape()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the batches of ``state``, provided the next iteration is of the same epoch."""
        self._resume = dict(state)
        if hasattr(self.batch_sampler.sampler, "set_epoch"):
            self.batch_sampler.sampler.set_epoch(state["epoch"])

    def _first_batch(self) -> int:
        state, self._resume = self._resume, None
        if state is None or state["epoch"] != self._epoch or state["batches"] == 0:
            return 0
        shape = {key: state[key] for key in self._shape()}
        if shape != self._shape():
            raise ValueError(
                f"This epoch was interrupted after {state['batches']} batches with {shape}, but is to be continued "
                f"with {self._shape()}, which would repeat some images and miss others. Restore the former batch "
                "size, data and number of processes, or resume from a checkpoint made at the end of an epoch."
            )
        return state["batches"] % len(self)

    def _shape(self) -> dict[str, int]:
        return {"batch_size": self.batch_sampler.batch_size, "samples": len(self.batch_sampler.sampler)}  # type: ignore[arg-type]

    def _sampler_epoch(self) -> int:
        return getattr(self.batch_sampler.sampler, "epoch", 0)


def read_ahead(batches: Iterator[Batch], depth: int = 2) -> Iterator[Batch]:
    """The same batches, read by a thread while those before them are used.

    An error of the thread is raised where the batch would have been.

    Args:
        batches: Where they come from.
        depth: Batches that are asked for in advance. From two on, the thread need not wait to be asked for the next.

    Example:
        >>> list(read_ahead(iter([1, 2, 3])))
        [1, 2, 3]
    """
    with ThreadPoolExecutor(1, "read_ahead") as thread:
        queue = deque(thread.submit(next, batches, None) for _ in range(depth))
        while (batch := queue.popleft().result()) is not None:
            queue.append(thread.submit(next, batches, None))
            yield batch


def _pass(samples: int | Sequence[int] | np.ndarray) -> np.ndarray:
    return np.arange(samples) if isinstance(samples, int) else np.asarray(samples)


def _share(rank: int | None, world: int | None) -> tuple[int, int]:
    own_rank, processes = process()
    return own_rank if rank is None else rank, processes if world is None else world
