"""Two processes that share the images unevenly compute what one process computes."""

from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing

from semexplain.system.processes import of_all_processes
from tests.metrics.streams import METRICS, compute, dataset, feed

SHARES = {"52 and 51": (52, 51), "3 and 100": (3, 100), "none and all": (0, 103)}


def measure(rank: int, folder: Path) -> None:
    """Feed one process's share of the images to every metric and keep the results."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    results = {}
    for shares in SHARES.values():
        part = slice(None, shares[0]) if rank == 0 else slice(shares[0], None)
        data = {name: values[part] for name, values in dataset().items()}
        sizes = [size for size in (data["score"].shape[0] // 3, -(-2 * data["score"].shape[0] // 3)) if size]
        for name, make in METRICS.items():
            metric = make()
            # The two processes observe uneven shares too.
            feed(metric, data, sizes, observe=True)
            feed(metric, data, sizes)
            result = compute(metric)
            if hasattr(metric, "coefficients"):
                result["intercept"] = metric.coefficients()[1]
            results[shares, name] = result
    results["rows"] = of_all_processes(torch.arange(3.0) if rank == 0 else torch.tensor([3.0]))
    torch.save(results, folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("two_processes")
    multiprocessing.spawn(measure, args=(folder,), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("shares", SHARES.values(), ids=SHARES)
@pytest.mark.parametrize("name", METRICS)
def test_two_processes_agree_with_one(results: list[dict], name: str, shares: tuple[int, int]) -> None:
    metric = METRICS[name]()
    feed(metric, dataset(), [103], observe=True)
    feed(metric, dataset(), [103])
    expected = compute(metric)
    if hasattr(metric, "coefficients"):
        expected["intercept"] = metric.coefficients()[1]
    for rank in range(2):
        result = results[rank][shares, name]
        assert result.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(result[key], value, rtol=1e-12, atol=1e-13, msg=f"{key}, process {rank}")


def test_two_processes_put_their_rows_together(results: list[dict]) -> None:
    assert [result["rows"].tolist() for result in results] == [[0, 1, 2, 3]] * 2
