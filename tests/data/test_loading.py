"""Order, shares and resumption of the loaders."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import Dataset

from semexplain.data.loading import EpochSampler, ResumableBatches, ResumableLoader, UnpaddedSampler, read_ahead

READERS = [{"num_workers": 0}, {"num_workers": 2}, {"ahead": True}]
readers = pytest.mark.parametrize("reader", READERS, ids=["main process", "worker processes", "thread"])


class Numbers(Dataset[dict[str, Tensor]]):
    """Samples that know their index, the epoch they were read in, and who has been read."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.read: list[int] = []
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        self.epoch.fill_(epoch)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        self.read.append(index)
        return {"index": torch.tensor(index), "epoch": self.epoch.clone()}


def training_loader(size: int = 23, batch_size: int = 4, seed: int = 5, **reader: Any) -> ResumableLoader:
    return ResumableLoader(Numbers(size), EpochSampler(size, seed=seed), batch_size, drop_last=True, **reader)


def indices(batches: Iterator[dict[str, Tensor]] | ResumableLoader) -> list[list[int]]:
    return [batch["index"].tolist() for batch in batches]


def test_a_permutation_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = EpochSampler(50, seed=seed)
        torch.rand(seed + 7 * epoch)  # whatever was drawn before does not matter
        sampler.set_epoch(epoch)
        return list(sampler)

    keys = [(seed, epoch) for seed in range(4) for epoch in range(4)]
    orders = {key: order(*key) for key in keys}
    assert all(sorted(found) == list(range(50)) for found in orders.values())
    assert len({tuple(found) for found in orders.values()}) == len(keys)  # also seed 0, epoch 1 and seed 1, epoch 0
    assert all(order(*key) == found for key, found in orders.items())


@pytest.mark.parametrize(("size", "world"), [(10, 1), (10, 3), (12, 4), (3, 3)])
def test_training_shares_are_equal_disjoint_and_dealt_from_one_permutation(size: int, world: int) -> None:
    whole = list(EpochSampler(size, seed=2))
    samplers = [EpochSampler(size, seed=2, rank=rank, world=world) for rank in range(world)]
    shares = [list(sampler) for sampler in samplers]
    assert [len(share) for share in shares] == [len(sampler) for sampler in samplers] == [size // world] * world
    for position in range(size // world):
        for rank in range(world):
            assert shares[rank][position] == whole[position * world + rank]


def test_the_samples_left_over_change_from_epoch_to_epoch() -> None:
    seen = set()
    for epoch in range(10):
        for rank in range(3):
            sampler = EpochSampler(10, rank=rank, world=3)
            sampler.set_epoch(epoch)
            seen.update(sampler)
    assert seen == set(range(10))


def test_training_needs_a_sample_for_each_process() -> None:
    with pytest.raises(ValueError, match="4 processes needs at least 4 samples, the data set has 3"):
        list(EpochSampler(3, rank=0, world=4))


@pytest.mark.parametrize(("size", "world"), [(10, 1), (10, 3), (12, 4), (2, 3), (7200, 7)])
def test_evaluation_counts_every_sample_once(size: int, world: int) -> None:
    samplers = [UnpaddedSampler(size, rank=rank, world=world) for rank in range(world)]
    drawn = [index for sampler in samplers for index in sampler]
    assert sorted(drawn) == list(range(size))
    assert sum(len(sampler) for sampler in samplers) == size


def test_shares_follow_the_processes_at_the_time_of_iterating(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation, training = UnpaddedSampler(7), EpochSampler(7)
    alone = list(training)
    assert list(evaluation) == list(range(7))
    monkeypatch.setattr("semexplain.data.loading.process", lambda: (1, 2))
    assert list(evaluation) == [1, 3, 5]
    assert list(training) == alone[1::2][:3]


@pytest.mark.parametrize(
    ("size", "drop_last", "lengths"),
    [
        (65, True, [64]),
        (64, True, [64]),
        (63, True, [63]),
        (1, True, [1]),
        (130, True, [64, 64]),
        (65, False, [64, 1]),
        (63, False, [63]),
        (128, False, [64, 64]),
    ],
)
def test_an_incomplete_batch_is_dropped_unless_it_is_the_only_one(
    size: int, drop_last: bool, lengths: list[int]
) -> None:
    batches = ResumableBatches(UnpaddedSampler(size), batch_size=64, drop_last=drop_last)
    assert [len(batch) for batch in batches] == lengths
    assert len(batches) == len(lengths)


@readers
@pytest.mark.parametrize("consumed", [1, 3, 4])
def test_a_resumed_epoch_continues_with_the_next_batch(reader: dict[str, Any], consumed: int) -> None:
    expected = {}
    for epoch in range(3):
        whole = training_loader()
        whole.batch_sampler.sampler.set_epoch(epoch)
        expected[epoch] = indices(whole)

    loader = training_loader(**reader)
    loader.batch_sampler.sampler.set_epoch(1)
    iterator = iter(loader)
    assert indices(islice(iterator, consumed)) == expected[1][:consumed]
    state = loader.state_dict()
    assert state["batches"] == consumed  # with workers more than these are already read

    resumed = training_loader(**reader)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    assert indices(resumed) == expected[1][consumed:]
    resumed.batch_sampler.sampler.set_epoch(2)
    assert indices(resumed) == expected[2]


@pytest.mark.parametrize("depth", [1, 2])
def test_the_thread_reads_so_many_batches_ahead_and_raises_where_the_batch_would_be(depth: int) -> None:
    read = []

    def source() -> Iterator[int]:
        for number in range(1, 4):
            read.append(number)
            yield number
        raise OSError("the disk is gone")

    batches = read_ahead(source(), depth)
    assert next(batches) == 1
    batches.close()  # waits for the thread
    assert read == [1, 2, 3][: 1 + depth]
    batches = read_ahead(source(), depth)
    assert list(islice(batches, 3)) == [1, 2, 3]
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)


def test_skipped_batches_are_not_read() -> None:
    loader = training_loader()
    iterator = iter(loader)
    first = indices(islice(iterator, 3))
    resumed = training_loader()
    resumed.load_state_dict(loader.state_dict())
    rest = indices(resumed)
    assert resumed.dataset.read == [index for batch in rest for index in batch]
    assert not set(resumed.dataset.read) & {index for batch in first for index in batch}


@readers
def test_an_iterator_made_before_the_epoch_is_set_reads_that_epoch(reader: dict[str, Any]) -> None:
    """Lightning calls ``iter`` before ``set_epoch`` (first epoch and every resume)."""
    loader = training_loader(**reader)
    iterator = iter(loader)
    loader.batch_sampler.sampler.set_epoch(3)
    batches = list(iterator)
    whole = training_loader()
    whole.batch_sampler.sampler.set_epoch(3)
    assert indices(iter(batches)) == indices(whole)
    assert {epoch for batch in batches for epoch in batch["epoch"].tolist()} == {3}


@readers
def test_workers_that_outlive_an_epoch_learn_of_the_next(reader: dict[str, Any]) -> None:
    loader = training_loader(**reader)
    for epoch in (0, 1, 2):
        loader.batch_sampler.sampler.set_epoch(epoch)
        length = 2 if epoch == 1 else None  # an epoch cut short must not leak into the next
        assert all((batch["epoch"] == epoch).all() for batch in islice(loader, length))


def test_the_state_belongs_to_its_epoch() -> None:
    loader = training_loader()
    list(islice(loader, 2))
    state = loader.state_dict()
    resumed = training_loader()
    resumed.load_state_dict(state)
    resumed.batch_sampler.sampler.set_epoch(state["epoch"] + 1)
    assert len(indices(resumed)) == len(resumed) == 5
    assert resumed.state_dict()["batches"] == 5


def test_a_finished_epoch_resumes_with_a_whole_one() -> None:
    loader = training_loader()
    whole = indices(loader)
    resumed = training_loader()
    resumed.load_state_dict(loader.state_dict())
    assert indices(resumed) == whole


def test_the_count_starts_anew_with_each_iteration() -> None:
    loader = training_loader()
    list(loader)
    loader.batch_sampler.sampler.set_epoch(1)
    iterator = iter(loader)
    next(iterator)
    assert loader.state_dict() == {"epoch": 1, "batches": 1, "batch_size": 4, "samples": 23}


@pytest.mark.parametrize("other", [{"batch_size": 8}, {"size": 24}])
def test_resuming_within_an_epoch_of_other_batches_is_refused(other: dict[str, int]) -> None:
    loader = training_loader()
    list(islice(loader, 2))
    resumed = training_loader(**other)
    resumed.load_state_dict(loader.state_dict())
    with pytest.raises(ValueError, match=r"interrupted after 2 batches with .*'batch_size': 4, 'samples': 23"):
        list(resumed)
    at_next_epoch = training_loader(**other)
    at_next_epoch.load_state_dict(loader.state_dict())
    at_next_epoch.batch_sampler.sampler.set_epoch(1)
    assert len(list(at_next_epoch)) == len(at_next_epoch)


@readers
def test_iterating_draws_nothing_from_the_global_generator(reader: dict[str, Any]) -> None:
    before = torch.get_rng_state()
    list(training_loader(**reader))
    assert torch.equal(torch.get_rng_state(), before)


class Diary(pl.LightningModule):
    """A model that notes which samples it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.diary: list[tuple[int, list[int]]] = []

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        self.diary.append((self.current_epoch, batch["index"].tolist()))
        return (self.weight - batch["index"].float().mean()).square()

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None: ...

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


def fit(reader: dict[str, Any], checkpoint: ModelCheckpoint, resume: Path | None = None) -> Diary:
    module = Diary()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=3,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=checkpoint,
    )
    validation = ResumableLoader(Numbers(3), UnpaddedSampler(3), 2)
    trainer.fit(module, training_loader(**reader), validation, ckpt_path=resume)
    return module


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated:FutureWarning")  # raised inside Lightning 2.6
@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@readers
@pytest.mark.parametrize(
    ("save", "step"),
    [
        ({"every_n_train_steps": 1}, 7),
        ({"every_n_train_steps": 1}, 10),
        ({"every_n_epochs": 1}, 10),
        ({"every_n_epochs": 1, "save_on_train_epoch_end": True}, 10),
    ],
    ids=["within the epoch", "at its last batch", "after validation", "after the epoch"],
)
def test_lightning_resumes_bit_identically(
    tmp_path: Path, reader: dict[str, Any], save: dict[str, Any], step: int
) -> None:
    def checkpoint() -> ModelCheckpoint:
        return ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, **save)

    whole = fit(reader, checkpoint())
    assert [epoch for epoch, _ in whole.diary] == [0] * 5 + [1] * 5 + [2] * 5
    resumed = fit(reader, checkpoint(), resume=tmp_path / f"step={step}.ckpt")
    assert resumed.diary == whole.diary[step:]
    assert torch.equal(resumed.weight, whole.weight)


def test_repeated_samples_are_dealt_out_exactly() -> None:
    """Sample k occurs k times: all of them over three processes in evaluation, equal shares of them in training."""
    samples = [sample for sample in range(6) for _ in range(sample)]
    shares = [list(UnpaddedSampler(samples, rank=rank, world=3)) for rank in range(3)]
    assert sorted(sample for share in shares for sample in share) == samples
    dealt = [list(EpochSampler(np.array(samples), seed=3, rank=rank, world=4)) for rank in range(4)]
    assert {len(share) for share in dealt} == {len(samples) // 4}
    assert all(sum(share.count(sample) for share in dealt) <= sample for sample in range(6))
