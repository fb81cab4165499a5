"""Every yaml composes and fits the code; what does not fit is reported in the user's words, all at once."""

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from support import ROOT, configured

from semexplain.attributions.gradient_times_activation import GradientTimesActivation
from semexplain.attributions.prior import PriorAndMap
from semexplain.attributions.starts import start_of
from semexplain.runs.options import check, outline
from semexplain.system.config import ConfigError, check_group, instantiate

CONF = ROOT / "conf"
LISTS = ("metrics", "callbacks", "logger", "figures")
CALLBACKS = "prior_weight,best_checkpoint,last_checkpoint"  # the ones that no run does without
FILTERS = ["experiment=pascal_part_dog"]  # what is for filters does not go with attributes
VALUES = {
    "concepts=random": ["concepts.count=5"],
    "concepts=named": ["concepts.include=[Smiling]"],
    "sweep=concept_count": ["concepts.count=5"],  # what is swept
    "sweep=figure8": ["concepts.count=5"],
    "data=pascal_part": FILTERS,
    "data=synthetic_animals": FILTERS,
    "data=synthetic_animals_small": FILTERS,
    "metrics=part_error": FILTERS,
    "metrics=part_ranks": FILTERS,
    "parts=erased": FILTERS,
    "parts=iou": FILTERS,
    "parts=peak": FILTERS,
    "figures=parts_pie": FILTERS,
    "prior=filter_jacobian": FILTERS,
    "case=filters": FILTERS,
    "performer=network": [
        "network.model=torchvision:squeezenet1_1",
        "network.layer=features",
        "network.transform={size: 64}",
        "network.arguments={num_classes: 4}",
        "network.classes=[Male,Smiling,Young,Bald]",
        "network.output=Male",
    ],
}


def choices(group: str) -> list[str]:
    """What a group offers; a name that begins with ``_`` is a base of others."""
    return sorted(path.stem for path in (CONF / group).glob("[!_]*.yaml"))


def options() -> list[str]:
    groups = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name != "local")
    names = [f"{group}={name}" for group in groups for name in choices(group)]
    # tested below: not for a signed prior, and rivals
    return [name for name in names if name != "prior_loss=cross_entropy" and not name.startswith("rival=")]


@pytest.mark.parametrize("option", options())
def test_every_option_composes_and_fits_the_code(option: str):
    group, name = option.split("=")
    others = [CALLBACKS] if group == "callbacks" and name not in CALLBACKS else []
    others += ["relative_deviation"] if group == "metrics" and name != "relative_deviation" else []  # runs need it
    choice = f"{group}=[{','.join([name, *others])}]" if group in LISTS and name not in CALLBACKS else option
    choice = f"callbacks=[{CALLBACKS}]" if name in CALLBACKS else choice
    check(configured(choice, *VALUES.get(option, [])))


def with_rival(*overrides: str) -> DictConfig:
    """The configuration of a run, with the rival that is to be measured on it."""
    config = configured("experiment=celeba_male")
    OmegaConf.update(config, "rival", configured(*overrides, name="evaluate").rival, force_add=True)
    return config


@pytest.mark.parametrize("rival", choices("rival"))
def test_every_rival_composes_and_fits_the_code(rival: str):
    config = with_rival(f"rival={rival}")
    check_group(config, "rival")
    module = {"prior_only": "prior"}.get(rival, rival)
    assert config.rival._target_.startswith(f"semexplain.attributions.{module}.")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["rival=lime", "+rival.samples=3"], r"rival.samples: unknown key \(did you mean 'n_samples'\?\)"),
        (["rival=lime", "rival.n_samples=0"], "rival.n_samples: expected greater than or equal to 2, got 0"),
        (["rival=elastic_net", "rival.strength=-1"], "rival.strength: expected greater than 0, got -1"),
        (["rival=random", "rival._target_=os.system"], "rival._target_: 'os.system' is not in a trusted package"),
        (["rival=lime", "rival.n_samples=???"], "rival.n_samples: needs a value"),
    ],
)
def test_mistakes_about_rivals(overrides: list[str], message: str):
    with pytest.raises(ConfigError, match=message):
        check_group(with_rival(*overrides), "rival")


@pytest.mark.parametrize("experiment", choices("experiment"))
@pytest.mark.parametrize("scale", choices("scale"))
def test_every_experiment_fits_at_every_scale(experiment: str, scale: str):
    check(configured(f"experiment={experiment}", f"scale={scale}"))


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_the_better_explainer_is_there_for_every_experiment(experiment: str):
    config = configured(f"experiment={experiment}", "method=semexplain")
    check(config)
    filters = config.prior["_target_"].endswith("filter_jacobian")
    assert config.start == "kind"
    assert start_of(outline(config).kind) is (GradientTimesActivation if filters else PriorAndMap)
    assert (config.module.centre, config.module.ablations) == ((False, 1) if filters else (True, 0))
    assert config.explainer["_target_"].endswith("LinearExplainer")


@pytest.mark.parametrize("network", ["alexnet", "vgg_m", "vgg_s", "vgg16"])
@pytest.mark.parametrize("scale", [None, "laptop", "small", "smoke"])
def test_every_network_fits_the_animals_at_every_scale(network: str, scale: str | None):
    scaled = [f"scale={scale}"] if scale else []
    config = configured("experiment=pascal_part_cow", f"performer=interpretable_{network}", *scaled)
    check(config)
    filters = 256 if network == "alexnet" else 512  # of a network whose first layer has 64 channels
    assert len(instantiate(config.concepts)(outline(config).concept_names)) == filters * config.performer.width // 64
    if scale is None:
        rates = {"alexnet": (512, 3e-3), "vgg_m": (196, 3e-3), "vgg_s": (128, 1e-3), "vgg16": (32, 1e-4)}
        training = config.performer_training
        assert (training.batch_size, training.optimizer.lr) == rates[network]
        assert (config.beta, config.data.split, config.performer.dropout, training.max_epochs) == (10, "icnn", 0.8, 50)
        assert (config.explainer.output, config.start, config.module.concept_scale) == ("softplus", None, "auto")


def test_the_sweep_of_table_1_is_24_cells_twice():
    params = OmegaConf.load(CONF / "sweep/table1_pascal_part.yaml").hydra.sweeper.params
    values = {key: str(value).split(",") for key, value in params.items()}
    assert [len(value) for value in values.values()] == [4, 6, 2]
    for performer in values["performer"]:
        assert (CONF / "performer" / f"{performer}.yaml").exists()
    for experiment in values["experiment"]:
        assert (CONF / "experiment" / f"{experiment}.yaml").exists()


def test_the_sweep_of_figure_8_is_160_explainers():
    params = OmegaConf.load(CONF / "sweep/figure8.yaml").hydra.sweeper.params
    assert [len(str(value).split(",")) for value in params.values()] == [4, 8, 5]
    assert str(params["concepts.count"]) == "5,10,15,20,25,30,35,39"


def test_the_experiments_are_the_papers():
    config = configured("experiment=celeba_heavy_makeup")
    assert (config.performer.target, config.performer.width, config.performer.hidden) == ("Heavy_Makeup", 64, 4096)
    assert (config.data.image_size, config.beta, config.explainer.depth) == (224, 0.2, 152)
    assert (config.explainer.output, config.trainer.max_epochs, config.data.limit) == ("identity", 20, None)
    assert len(instantiate(config.concepts)(outline(config).concept_names)) == 39


def test_the_command_line_beats_the_scale_and_the_scale_beats_the_experiment():
    config = configured("experiment=celeba_male", "scale=laptop", "explainer=resnet50", "performer.image_size=64")
    assert (config.explainer.depth, config.data.image_size, config.performer.image_size) == (50, 64, 64)
    assert config.performer_training.train == "head"


@pytest.mark.parametrize("scale", choices("scale"))
def test_a_scale_says_what_it_means_for_every_performer(scale: str):
    ours = [performer for performer in choices("performer") if performer != "network"]  # which has the size that it has
    assert choices(f"scale/{scale}") == ours
    for performer in ours:
        for_one = OmegaConf.load(CONF / f"scale/{scale}/{performer}.yaml")
        config = configured(f"scale={scale}", f"performer={performer}")
        assert config.performer.image_size == for_one.performer.image_size
        alone = configured(f"scale={scale}", f"performer={performer}", "performer.image_size=64")  # the command line
        assert alone.data.image_size == 64


@pytest.mark.parametrize("base", sorted(CONF.rglob("_*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_base_is_shared(base: Path):
    """At least two files take it over, as it is no choice by itself."""
    own = [OmegaConf.load(path).get("defaults", []) for path in base.parent.glob("[!_]*.yaml")]
    place = f"/{base.parent.relative_to(CONF)}/{base.stem}"
    assert sum(base.stem in defaults or place in defaults for defaults in own) >= 2


MISTAKES = {
    "performer.target=Atractive": r"performer.target: expected one of .*did you mean 'Attractive'\?",
    "+explainer.dept=18": r"explainer.dept: unknown key \(did you mean 'depth'\?\)",
    "explainer.depth=19": r"explainer.depth: expected 18, 34, 50, 101 or 152, got 19",
    "beta=-1": r"beta: expected greater than or equal to 0, got -1",
    "beta=abc": r"beta: expected a valid number, got 'abc'",
    "+betta=1": r"betta: unknown key \(did you mean 'beta'\?\)",
    "data.batch_size=1": r"data.batch_size: expected greater than or equal to 2, got 1",
    "+data.bach_size=4": r"data.bach_size: unknown key \(did you mean 'batch_size'\?\)",
    "optimizer.lr=-0.1": r"optimizer: Invalid learning rate: -0.1",
    "+trainer.max_epoch=3": r"trainer.max_epoch: unknown key \(did you mean 'max_epochs'\?\)",
    "performer_training.optimizer.lr=-2": r"performer_training.optimizer: Invalid learning rate",
    "scheduler.factor=-3": r"scheduler: Constant multiplicative factor expected to be between 0 and 1",
    "callbacks=[best_checkpoint,last_checkpoint]": r"callbacks: without prior_weight λ stays 0 whatever `beta` is",
    "callbacks=[prior_weight,last_checkpoint]": r"callbacks: best_checkpoint is missing",
    "data.image_size=64": r"data.image_size: 64 but the performer sees images of performer.image_size=224",
    "+data.flip=true": r"data.flip: an explainer sees every image as it is",
    "trainer.precision=bf16-true": r"trainer.precision: expected one of 32-true, .*, got 'bf16-true'",
    "performer.weights=no/such.pth": r"performer.weights: there is no file .*no/such.pth",
    "+paths.performer=x": r"paths.performer: unknown key \(did you mean 'performers'\?\)",
    "data.limit=1": r"data.limit: expected greater than or equal to 2, got 1",
    "task=explain": r"task: expected 'explainer' or 'performer', got 'explain'",
}


@pytest.mark.parametrize(("override", "message"), MISTAKES.items())
def test_a_mistake_is_named_in_the_users_words(override: str, message: str):
    with pytest.raises(ConfigError, match=message):
        check(configured("experiment=celeba_male", override))


def test_all_mistakes_are_reported_together():
    with pytest.raises(ConfigError, match="5 problems") as error:
        check(
            configured(
                "performer.target=Mail",
                "beta=-1",
                "+explainer.dept=1",
                "data.batch_size=x",
                "+callbacks.prior_weight.b=1",
            )
        )
    assert all(key in str(error.value) for key in ("performer.target", "beta", "dept", "batch_size", "prior_weight.b"))


NETWORK = ["performer=network", "case=filters", *VALUES["performer=network"]]


def test_a_network_is_named_in_either_node():
    for node in ("network", "performer"):
        words = [word.replace("network.model", f"{node}.model") for word in NETWORK]
        config = configured(*words, "explainer=linear")
        check(config)
        performer = outline(config)
        assert (performer.image_shape, performer.target_name) == ((3, 64, 64), "Male")
        assert type(performer.kind).__name__ == "Filters"
    assert type(outline(configured(*NETWORK, "case=outputs")).kind).__name__ == "Outputs"
    assert outline(configured(*NETWORK, "network.output=Young")).target_name == "Young"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], r"performer: model: name the network, `network.model=my_nets.py:build\|"),
        (["network.model=resnet18"], "performer: model: expected `my_nets.py:build` .* got 'resnet18'"),
        (["network.model=/nowhere/nets.py:build"], "performer: model: there is no file /nowhere/nets.py"),
        ([*NETWORK, "+network.checkpiont=a"], r"network.checkpiont: unknown key \(did you mean 'checkpoint'\?\)"),
        ([*NETWORK, "network.checkpoint=/nowhere.pt"], "performer: checkpoint: there is no file /nowhere.pt"),
        (
            ["network.model=torchvision:alexnet", "network.transform={sise: 3}"],
            r"performer: transform.sise: unknown key \(did you mean 'size'",
        ),
    ],
)
def test_mistakes_about_a_network(words: list[str], message: str):
    with pytest.raises(ConfigError, match=message):
        check(configured("performer=network", *words))


def test_a_missing_value_is_asked_for():
    with pytest.raises(ConfigError, match=r"concepts.count: needs a value, for example `concepts.count=...`"):
        check(configured("concepts=random"))


def test_more_concepts_than_there_are():
    with pytest.raises(ConfigError, match="concepts: `count` must be between 1 and the 39 concepts"):
        check(configured("concepts=random", "concepts.count=99"))


def test_a_cross_entropy_of_signed_weights_is_refused():
    with pytest.raises(ConfigError, match="needs positive weights.*\n.*needs a positive prior"):
        check(configured("prior_loss=cross_entropy"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["prior.clamp=false"], "the cross-entropy needs a positive prior, and this one is signed: `prior.clamp=true`"),
        (["prior_loss=l2"], "prior_loss: l2 compares directions, .*: `prior.clamp=false`"),
        (["~parts"], "metrics: part_error needs filters that have been named, for example by `parts=erased`"),
        (["performer.target=Male"], "performer.target: expected 'bird', 'cat', 'cow', 'dog', 'horse' or 'sheep'"),
        (["parts.method=guess"], "parts.method: expected 'erased', 'peak' or 'iou', got 'guess'"),
    ],
)
def test_mistakes_about_filters(overrides: list[str], message: str):
    with pytest.raises(ConfigError, match=message):
        check(configured("experiment=pascal_part_dog", *overrides))


@pytest.mark.parametrize("start", [start for start in choices("start") if start not in ("least_squares", "none")])
def test_a_softplus_explainer_cannot_correct_a_start(start: str):
    with pytest.raises(ConfigError, match="start: it is corrected in both directions.*`explainer.output=identity`"):
        check(configured("explainer.output=softplus", f"start={start}"))


def test_a_softplus_explainer_can_begin_with_a_start():
    """With a common weight for all concepts, or as PyTorch initialises it."""
    for start in ("start=least_squares", "start=none"):
        check(configured("explainer.output=softplus", start))


def test_corrections_to_a_start_have_the_sizes_of_its_weights():
    with pytest.raises(ConfigError, match="module.concept_scale: .* Expected auto or null, or `start=none`"):
        check(configured("start=prior", "module.concept_scale=3"))
    for allowed in (["start=prior", "module.concept_scale=auto"], ["start=least_squares", "module.concept_scale=3"]):
        check(configured(*allowed))


@pytest.mark.parametrize(("scale", "got"), [("0", "greater than 0, got 0"), ("large", "got 'large'")])
def test_a_concept_scale_is_a_positive_number(scale: str, got: str):
    with pytest.raises(ConfigError, match=f"module.concept_scale: expected .*{got}"):
        check(configured(f"module.concept_scale={scale}"))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ("[Smiling,Bald]", r"performer.target: expected one of the outputs Smiling, Bald as the target, got 'Male'\."),
        ("[Male]", "performer: Male is the only output: there is no other that could explain it"),
        ("[Male,Bald,Bald]", "performer: `attributes` must name every output once, got Male, Bald, Bald"),
        ("7", "performer.attributes: "),
    ],
)
def test_mistakes_about_attributes(attributes: str, message: str):
    with pytest.raises(ConfigError, match=message):
        check(configured("experiment=celeba_male", f"performer.attributes={attributes}"))


def test_a_network_that_cannot_be_built_says_why():
    with pytest.raises(
        ConfigError, match=r"\n  performer: Caffe's AlexNet leaves 5 x 5 cells of an image of 224 pixels"
    ):
        check(configured("experiment=pascal_part_dog", "performer=interpretable_alexnet", "performer.image_size=224"))


@pytest.mark.parametrize("target", ["os.system", "torch.load", "builtins.eval", "torch.hub.load", "subprocess.run"])
def test_nothing_outside_the_trusted_packages_is_built(target: str, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ConfigError, match="not in a trusted package"):
        instantiate(
            {"_target_": "semexplain.training.callbacks.prior_weight.PriorWeight", "beta": {"_target_": target}}
        )
    with pytest.raises(ConfigError, match="not in a trusted package"):
        check(configured(f"optimizer._target_={target}"))


def test_own_packages_can_be_trusted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEMEXPLAIN_TRUSTED", "fractions,collections")
    assert instantiate({"_target_": "fractions.Fraction", "numerator": 3}) == 3


def test_the_readme_names_no_option_that_does_not_exist():
    text = (ROOT / "README.md").read_text()
    experiments = set(choices("experiment"))
    named = {word.split("=")[1].strip("`,.") for word in text.split() if word.startswith("experiment=")}
    assert named <= experiments | {"..."}
    assert named & experiments, Path("README.md")
