"""What a choice of device means here; what is not here is refused in a sentence before anything is done."""

from typing import Any

import pytest
import torch
from support import configured

from semexplain.runs.options import check
from semexplain.system.config import ConfigError
from semexplain.system.devices import accelerator, device, free_gpus, require_devices

NO_GPU = "there is no GPU here \\(torch sees none\\): use"


@pytest.fixture(params=[0, 2])
def gpus(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many GPUs torch sees."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: request.param)
    return request.param


@pytest.mark.parametrize("choice", ["mps", "mps:0"])
def test_a_gpu_without_float64_is_refused(choice: str, gpus: int):
    with pytest.raises(ConfigError, match="^device: Apple's GPU .* has no float64, .*: use device=cpu.$"):
        device(choice)


@pytest.mark.parametrize(
    "choice", ["nonsense", "meta", "cpu:0", "", "xla", "cuda:x", "cuda:", "cuda:-1", "privateuseone"]
)
def test_what_is_no_device_is_refused(choice: str, gpus: int):
    with pytest.raises(ConfigError, match=f"^device: expected auto, cpu, cuda or cuda:<number>, got '{choice}'.$"):
        device(choice)


def test_a_gpu_is_where_torch_sees_one(gpus: int):
    assert device("cpu") == torch.device("cpu")
    if gpus:
        assert [device(choice) for choice in ("auto", "gpu", "cuda:1")] == [
            *[torch.device("cuda")] * 2,
            torch.device("cuda:1"),
        ]
        with pytest.raises(ConfigError, match="^device: cuda:7, but torch sees 2 GPUs here, counted from 0.$"):
            device("cuda:7")
        return
    assert device("auto") == torch.device("cpu")
    for choice in ("cuda", "gpu", "cuda:7"):
        with pytest.raises(ConfigError, match=f"^device: {choice}, but {NO_GPU} device=cpu.$"):
            device(choice)
    with pytest.raises(ConfigError, match=f"^trainer.accelerator: gpu, but {NO_GPU} trainer.accelerator=cpu.$"):
        accelerator("gpu")
    with pytest.raises(ConfigError, match="^trainer.accelerator: expected auto, cpu or gpu, got 'cuda:1'.$"):
        accelerator("cuda:1")


@pytest.mark.parametrize("devices", [0, -1, "0,7", [0, 1], "x", None, 2.5, True, [], {"a": 1}])
def test_on_the_cpu_devices_are_processes(devices: Any):
    with pytest.raises(ConfigError, match="^trainer.devices: on the CPU it is a number of processes, at least 1, got"):
        require_devices({"accelerator": "cpu", "devices": devices})


@pytest.mark.parametrize(
    ("devices", "text"),
    [
        (3, "3, but torch sees 2 GPUs here.$"),
        ("0,7", "'0,7', but torch sees 2 GPUs here, counted from 0.$"),
        ([0, 0], "\\[0, 0\\], but torch sees 2 GPUs"),
        (0, "0, but torch sees 2"),
        (-2, "-2, but torch sees 2"),
        ("two", "expected a number of GPUs, -1 for all, or their numbers such as '0,1', got 'two'.$"),
    ],
)
def test_gpus_that_are_not_here_are_refused(devices: Any, text: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match=f"^trainer.devices: {text}"):
        require_devices({"accelerator": "gpu", "devices": devices})


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"strategy": "nonsense"}, "expected auto or ddp, got 'nonsense'.$"),
        ({"strategy": "dpp"}, r"expected auto or ddp, got 'dpp' \(did you mean 'ddp'\?\).$"),
        ({"strategy": "fsdp"}, "'fsdp' is not possible here: .*requires a GPU"),
        ({"strategy": None}, "expected auto or ddp, got None.$"),
        ({"num_nodes": 0}, "'auto' is not possible here: .*num_nodes"),
    ],
)
def test_strategies_that_cannot_be_are_refused(options: dict[str, Any], text: str):
    with pytest.raises(ConfigError, match=f"^trainer.strategy: {text}"):
        require_devices({"accelerator": "cpu", "devices": 1, **options})


@pytest.mark.parametrize("options", [{}, {"devices": "2"}, {"devices": 2, "strategy": "ddp"}, {"devices": "auto"}])
def test_what_is_possible_is_not_refused(options: dict[str, Any]):
    require_devices({"accelerator": "cpu", **options})


@pytest.mark.parametrize(
    "option",
    [
        "+trainer.limit_val_batches=-1",
        "+trainer.gradient_clip_algorithm=x",
        "+trainer.profiler=x",
    ],
)
def test_what_lightning_refuses_is_refused_before_the_work(option: str):
    with pytest.raises(ConfigError, match=r"1 problem; nothing was started.\n  trainer: .*invalid|trainer: .*"):
        check(configured("experiment=celeba_attractive", "scale=smoke", option))


@pytest.mark.parametrize("words", ["a", "0, 1", "0;1", "../x", "-1", "0 1 two"])
def test_gpus_of_jobs_are_numbers(words: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEMEXPLAIN_GPUS", words)
    with pytest.raises(ConfigError, match="^SEMEXPLAIN_GPUS: expected a word for each job .* got '"), free_gpus():
        pass


def test_a_job_is_not_given_a_gpu_that_is_not_here(monkeypatch: pytest.MonkeyPatch):
    """CUDA would hide them all, and the job would compute on the CPU without a word."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("SEMEXPLAIN_GPUS", "0 2")
    with pytest.raises(ConfigError, match="^SEMEXPLAIN_GPUS: there is no GPU 2, torch sees 2, counted"), free_gpus():
        pass
