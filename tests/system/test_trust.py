"""What a configuration may build: exactly the components, whatever else can be reached through a trusted module."""

import importlib
import pkgutil
import re
import types
from typing import Any

import hydra
import pytest
from omegaconf import OmegaConf
from support import ROOT

import semexplain
from semexplain.runs.controls import CONTROLS, METRICS_NEEDED
from semexplain.runs.tasks import JUDGED_BY
from semexplain.system.config import ConfigError, instantiate, targets, trusted_target
from semexplain.system.trouble import Trouble
from semexplain.system.trust import LIBRARIES, UntrustedError, trusted

BESIDE_CONF = {  # components of this package that no configuration names, of kinds that configurations name
    "semexplain.attributions.linear_map.CommonWeight",
    "semexplain.attributions.timed.TimedAttribution",
    "semexplain.concepts.filters.Filters",
    "semexplain.concepts.outputs.Outputs",
    "semexplain.metrics.attribute_accuracy.AttributeAccuracy",
    "semexplain.metrics.randomisation_similarity.RandomisationSimilarity",
    "semexplain.metrics.truth_agreement.TruthAgreement",
    "semexplain.performers.network.Network",
    "semexplain.training.callbacks.divergence.Divergence",
    "semexplain.training.callbacks.random_state.RandomState",
    "semexplain.training.callbacks.stop_together.StopTogether",
    "semexplain.training.callbacks.validation_numbers.ValidationNumbers",
    "semexplain.training.controls.Truth",
    # functions beside the components: arithmetic, and what figures are made of
    *(f"semexplain.concepts.losses.{name}" for name in ("degenerate", "distillation", "precise")),
    *(f"semexplain.concepts.priors.{name}" for name in ("feature_gradient", "gradient_products", "ratio_of_products")),
    *(f"semexplain.report.figures.{name}" for name in ("capacity.capacity", "frontier.frontier")),
    "semexplain.report.figures.described.description_of",
    "semexplain.report.figures.distribution.contribution_shares",
    *(
        f"semexplain.report.figures.style.{name}"
        for name in (
            "caption colours display_name draw_image from_zero largest new_figure readable terms upright".split()  # noqa: SIM905
        )
    ),
}
HYDRAS = ("semexplain.runs.sweeps.SweepSummary", "hydra_plugins.semexplain_search.Search")
REACHABLE = [  # what ran, or would have run, before
    "semexplain.runs.sweeps._run",
    "semexplain.runs.sweeps.run_job",
    "semexplain.performers.weights.torch.load",
    "semexplain.system.row_store.np.load",
    "torch.optim.optimizer.torch.hub.load",
    "torchmetrics.metric.torch.load",
    "semexplain.system.files.write_text",
    "semexplain.system.files.os.system",
    "semexplain.runs.tasks.shutil.copyfile",
    "semexplain.data.synthetic_faces.write_faces",
    "semexplain.data.drawn.folder.write_once",
    "semexplain.system.config.instantiate",
    "semexplain.system.config.hydra.utils.instantiate",
    "semexplain.system.config.functools.partial",
    "torch.hub.download_url_to_file",
    "torch.optim.lr_scheduler.warnings.sys.exit",
    "pytorch_lightning.callbacks.Callback",
    "pytorch_lightning.callbacks.LambdaCallback",
    "pytorch_lightning.loggers.logger.rank_zero_experiment",
    "pytorch_lightning.Trainer.fit",
    "pytorch_lightning.trainer.trainer.Trainer",
    "pytorch_lightning.utilities.cloud_io.get_filesystem",
    "torch.optim.Optimizer",
    "torch.optim.lr_scheduler.LRScheduler",
    "torchmetrics.Metric",
    "torchmetrics.text.bert.BERTScore",
    "torchmetrics.wrappers.LambdaInputTransformer",
    "semexplain.attributions.base.Attribution",
    "semexplain.attributions.base.importlib.import_module",
    "semexplain.runs.sweeps.subprocess.Popen",
    "semexplain.metrics.linear_map.least_squares",
    "semexplain.training.weights_and_biases.WandbLogger",
    "semexplain.runs.sweeps.SweepSummary",  # Hydra's own, which no run builds
    "semexplain.report.figures.bars.new_figure",  # not defined there
]
MISSHAPEN = [
    None,
    7,
    ["os.system"],
    {"_target_": "os.system"},
    "",
    "semexplain",
    "semexplain.",
    "semexplain..runs",
    ".semexplain.runs.tasks.measure",
    "..os.system",
    "semexplain.__init__",
    "semexplain.__main__.main",
    "semexplain.concepts.losses.__builtins__.eval",
    "semexplain.concepts.losses.prior_l2.__globals__",
    "semexplain.concepts.losses.prior_l2 ",
    "semexplain.concepts.losses.prior_l2\n",
    "ѕemexplain.concepts.losses.prior_l2",  # a Cyrillic s
    "semexplain.concepts.losses.prior_l２",
    "semexplain/concepts/losses.prior_l2",
    "torch.optim.Adam()",
    b"os.system",
]


def conf_targets() -> set[str]:
    """All that the shipped configuration names, but for what Hydra itself builds."""
    texts = [path.read_text("utf-8") for path in (ROOT / "conf").rglob("*.yaml")]
    names = {name for text in texts for name in re.findall(r"_target_: *([\w.]+)", text)}
    return {name for name in names if name not in HYDRAS}


def constants() -> set[str]:
    nodes = {node["_target_"] for values in (METRICS_NEEDED, JUDGED_BY) for _, node in targets(values)}
    return nodes | set(CONTROLS.values())


def allowed_of(package: types.ModuleType) -> set[str]:
    """Every name in every module of a package that may be built."""
    names = set()
    for module in [
        package.__name__,
        *(m.name for m in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")),
    ]:
        for name in vars(importlib.import_module(module)):
            try:
                trusted(f"{module}.{name}")
            except Trouble:
                continue
            names.add(f"{module}.{name}")
    return names


def test_exactly_the_components_of_the_package_may_be_built():
    wanted = {name for name in conf_targets() | constants() if name.startswith("semexplain.")}
    assert allowed_of(semexplain) == wanted | BESIDE_CONF


@pytest.mark.parametrize("package", ["torch.optim", "pytorch_lightning.callbacks", "pytorch_lightning.loggers"])
def test_of_libraries_only_classes_of_their_kind_that_they_define_may_be_built(package: str):
    module = importlib.import_module(package)
    for name in allowed_of(module):
        item = trusted(name)
        assert isinstance(item, type), name
        assert issubclass(item, LIBRARIES[package]), name
        assert item.__module__.startswith(package), name


@pytest.mark.parametrize("target", sorted(conf_targets() | constants()))
def test_what_the_configuration_names_may_be_built(target: str):
    assert callable(trusted(target))


@pytest.mark.parametrize("target", REACHABLE)
def test_what_is_merely_reachable_may_not_be_built(target: str):
    with pytest.raises(UntrustedError, match="is not in a trusted package|none of the kinds|in plain letters"):
        trusted(target)


@pytest.mark.parametrize("target", MISSHAPEN, ids=repr)
def test_a_target_is_a_plain_dotted_name(target: Any):
    with pytest.raises(UntrustedError, match=r"expected <module>.<name> in plain letters|not in a trusted package"):
        trusted(target)


@pytest.mark.parametrize(
    "hidden",
    [
        {"beta": {"_target_": "os.system", "command": "true"}},
        {"beta": 1, "_args_": [{"_target_": "os.system"}]},
        {"beta": [[{"x": {"_target_": "os.system"}}]]},
        {"beta": {"_target_": "os.system"}, "_recursive_": False},
        {"beta": {"_target_": "os.system"}, "_convert_": "all"},
        {"beta": {"_target_": "os.system", "_partial_": True}},
        {"beta": {"_target_": None}},
        {"beta": {"_target_": ["os", "system"]}},
        {"beta": {"_target_": "${name}"}, "name": "os.system"},
        {"beta": "${other}", "other": {"_target_": "os.system"}},
        {"beta": "${oc.create:{_target_:os.system}}"},
        {"beta": ({"_target_": "os.system"},)},
    ],
    ids=str,
)
def test_nothing_hides_a_target(hidden: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    """Nor does it come as far as Hydra, which has a list of its own in some of its versions."""
    monkeypatch.setattr(hydra.utils, "instantiate", lambda *_, **__: pytest.fail("it came as far as Hydra"))
    node = {"_target_": "semexplain.training.callbacks.prior_weight.PriorWeight", **hidden}
    with pytest.raises(ConfigError, match=r"may not build this:\n  .*_target_: (expected|'os.system' is not in)"):
        instantiate(OmegaConf.create(node) if not isinstance(hidden["beta"], tuple) else node)


def test_nothing_is_imported_before_its_package_is_trusted(tmp_path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "stranger.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')\n\ndef f(): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="is not in a trusted package"):
        trusted_target("stranger.f")
    assert not (tmp_path / "canary").exists()


def test_of_an_own_package_all_that_it_defines_may_be_built_and_no_more(tmp_path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "ownpackage.py").write_text(
        "import os\nfrom shutil import rmtree\n\nclass A:\n    @classmethod\n    def of(cls): return cls()\n"
        "\ndef f(): return 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("SEMEXPLAIN_TRUSTED", " ownpackage ,nothing")
    assert trusted("ownpackage.f")() == 1
    assert type(trusted("ownpackage.A.of")()).__name__ == "A"
    for name in ("ownpackage.os.system", "ownpackage.rmtree", "ownpackage.os"):
        with pytest.raises(UntrustedError, match="is not defined in ownpackage, which merely uses it"):
            trusted(name)
    with pytest.raises(Trouble, match="cannot import 'ownpackage.g'"):
        trusted("ownpackage.g")
    with pytest.raises(Trouble, match="there is no module 'nothing'. Is it on PYTHONPATH"):
        trusted("nothing.f")


def test_a_name_that_is_not_there_is_told():
    with pytest.raises(Trouble, match="cannot import 'torch.optim.Adamm': there is no 'Adamm' in torch.optim"):
        trusted("torch.optim.Adamm")
