"""Explainers trained together are those trained alone."""

from pathlib import Path

import pytest
import torch
from support import ROOT, configured, smoke

from semexplain.__main__ import main
from semexplain.config import ConfigError
from semexplain.performers.vgg16_attributes import VGG16Attributes
from semexplain.runs.build import build
from semexplain.runs.together import check_together, jobs, share, start_together
from semexplain.system.files import read_json
from train import train

pytestmark = [
    pytest.mark.filterwarnings("ignore:The performer's convolutions start from random weights"),
    pytest.mark.filterwarnings(r"ignore:All \d+ scores of the performer lie between 0 and 1"),
]


def test_jobs_are_all_combinations():
    found = jobs(["experiment=a", "beta=0,2", "seed=range(2)", "~parts"])
    assert [job[0] for job in found] == ["experiment=a"] * 4
    assert [job[1:3] for job in found] == [[f"beta={b}", f"seed={s}"] for b in (0, 2) for s in (0, 1)]
    assert {job[3] for job in found} == {"~parts"}


def test_trained_together_is_trained_alone(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
):
    """Another β, another target and other concepts, for the price of one performer."""
    images = []
    encode = VGG16Attributes.encode
    # A job in a thread of its own has one core; how many there are rounds sums differently, and Adam makes much of it.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    request.addfinalizer(lambda: torch.set_num_threads(threads))

    def counted(self: VGG16Attributes, image: torch.Tensor) -> torch.Tensor:
        images.append(len(image))
        return encode(self, image)

    common = smoke(
        faces,
        tmp_path,
        "trainer.max_epochs=2",
        "data.cache=off",
        "callbacks=[prior_weight,best_checkpoint,last_checkpoint,write_explanations]",
    )
    varied = [["beta=0", "performer.target=Young"], ["beta=2", "performer.target=Male"]]
    alone = []
    for number, own in enumerate(varied):
        train(configured(*common, *own), tmp_path / f"alone/{number}")  # the first trains the performer
        alone.append(read_json(tmp_path / f"alone/{number}/metrics.json"))

    with monkeypatch.context() as patch:
        patch.setattr(VGG16Attributes, "encode", counted)
        folders, results = start_together([*common, "beta=0,2", "performer.target=Young,Male"], ROOT / "conf")
    assert len(folders) == 4
    # two epochs of 70 images less the incomplete batch, two of 19, one to start at, one over train and test
    batch = configured(*common).data.batch_size
    assert sum(images) == 2 * (70 // batch * batch or 70) + 2 * 19 + 70 + 70 + 23
    together = [results[0], results[3]]
    for one, other in zip(alone, together, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert other[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name
    written = [read_json(folder / "metrics.json") for folder in folders]
    assert written == results
    assert all((folder / "explanations.parquet").exists() for folder in folders)


def test_jobs_that_need_other_batches_are_refused(faces: Path, tmp_path: Path):
    common = smoke(faces, tmp_path)
    configs = [configured(*common, f"seed={seed}", f"data.batch_size={8 + seed}") for seed in (0, 1)]
    with pytest.raises(ConfigError, match="must agree in data"):
        check_together(configs)
    configs = [configured(*common, f"metrics=[{name}]") for name in ("relative_deviation", "completeness_gap")]
    with pytest.raises(ConfigError, match="must agree in metrics"):
        check_together(configs)
    check_together([configured(*common, f"seed={seed}", "data.seed=0") for seed in (0, 1)])
    with pytest.raises(ConfigError, match="one run a process"):
        check_together([configured(*common, "logger=[csv,wandb]")])
    for several in ("trainer=ddp_cpu", "trainer.devices=2"):
        with pytest.raises(ConfigError, match="trained by this one process"):
            check_together([configured(*common, several)])
    with pytest.raises(ConfigError, match="sweep=beta: a preset is for"):
        jobs([*common, "sweep=beta"])
    with pytest.raises(ConfigError, match="performers are not"):
        check_together([configured(*common, "task=performer")])


def test_performers_share_their_memory(faces: Path, tmp_path: Path):
    common = smoke(faces, tmp_path)
    configs = [configured(*common, f"performer.target={target}") for target in ("Male", "Young")]
    built = [build(config, tmp_path / str(number)) for number, config in enumerate(configs)]
    share(built)
    first, second = (dict(module.performer.named_parameters()) for _, module, _ in built)
    assert [value.data_ptr() for value in second.values()] == [value.data_ptr() for value in first.values()]
    assert built[1][1].identity["performer_sha256"] == built[1][1].performer.digest()


def test_jobs_may_stop_at_different_epochs(faces: Path, tmp_path: Path):
    """No epoch is better by a million, so a patience of 1 ends the second epoch, and one of 9 never ends."""
    early = [
        "callbacks=[prior_weight,best_checkpoint,last_checkpoint,early_stopping]",
        "callbacks.early_stopping.patience=1,9",
        "+callbacks.early_stopping.min_delta=1e6",
    ]
    folders, results = start_together([*smoke(faces, tmp_path, "trainer.max_epochs=4"), *early], ROOT / "conf")
    assert [read_json(folder / "metrics.json") for folder in folders] == results
    rows = [[line.split(",")[0] for line in (f / "metrics.csv").read_text().splitlines()[1:]] for f in folders]
    assert [sorted(set(own)) for own in rows] == [["0", "1", "2"], ["0", "1", "2", "3", "4"]]  # the last is the test


def test_a_job_that_fails_is_named_and_the_others_end(
    faces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    from semexplain.metrics.contribution_entropy import ContributionEntropy

    compute = ContributionEntropy.compute
    failed = []

    def once(self: ContributionEntropy) -> torch.Tensor:
        if not failed:
            failed.append(self)
            raise RuntimeError("no entropy today")
        return compute(self)

    monkeypatch.setattr(ContributionEntropy, "compute", once)
    assert main(["together", *smoke(faces, tmp_path, "trainer.max_epochs=1", "beta=0,2")]) == 1
    printed = capsys.readouterr()
    assert "no entropy today" in printed.err
    assert printed.out.count("| Attractive ") == 1


def test_wrong_options_are_told(capsys: pytest.CaptureFixture[str]):
    assert main(["together", "experiment=celeba_male", "bta=0"]) == 1
    assert "bta" in capsys.readouterr().err
