"""All options of a run against the code, and against one another, before anything is built."""

import contextlib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from semexplain.attributions.starts import start_of
from semexplain.data.framing import Framing
from semexplain.explanation import Performance
from semexplain.performers.base import Performer
from semexplain.performers.named_network import NamedNetwork
from semexplain.runs.shape import ALWAYS, misshapen
from semexplain.runs.validation import infinite_problems, number_problems, trainer_problems
from semexplain.system.config import (
    ConfigError,
    instantiate,
    misfits,
    plain,
    problems_of_targets,
    refuse,
    suggest,
    targets,
    trusted_target,
)
from semexplain.system.devices import refusal_of_lightning
from semexplain.system.references import without_values
from semexplain.system.seed import Seed

PRECISIONS = ("32-true", "32", "bf16-mixed", "16-mixed")
NAMED = ("callbacks", "logger", "metrics", "figures", "report_figures")  # names in these become names of files
# Of the machine, see `require_devices`; of the whole process; and of what this program gives the trainer itself.
ELSEWHERE = (
    "accelerator",
    "devices",
    "num_nodes",
    "strategy",
    "precision",
    "sync_batchnorm",
    "deterministic",
    "benchmark",
    "logger",
    "callbacks",
    "enable_checkpointing",
    "default_root_dir",
)
PATHS = ("data", "performers", "cache", "outputs", "multirun")

RENAMED = {  # options of earlier versions, which Hydra refuses without a hint
    "explainer.head_init": "start: `start=least_squares` for linear and calibrated, `start=none` for default",
    "start=feature_ratio": "`start=prior`, or `start=kind` for what suits the kind of concept",
    "start=filter_jacobian": "`start=gradient_times_activation`, or `start=kind` for what suits the kind of concept",
    "size": "part of scale: `scale=laptop`",
    "details": "part of method and case: `method=semexplain case=filters`",
}


def renamed(arguments: Sequence[str]) -> str | None:
    """A line for each option that has another name now, None if there is none.

    Args:
        arguments: Words of the command line.

    Example:
        >>> renamed(["beta=0", "+size=laptop"])
        'size is now part of scale: `scale=laptop`.'
        >>> renamed(["beta=0", "scale=laptop"])
    """
    words = [word.lstrip("+~") for word in arguments]
    names = [name for word in words for name in (word, word.partition("=")[0]) if name in RENAMED]
    return "\n".join(f"{name} is now {RENAMED[name]}." for name in names) or None


def root_options(
    *,
    task: Literal["explainer", "performer"],
    beta: Annotated[float, Ge(0)],
    seed: Seed,
    resume: str | None,
    objective: str,
    data: Any,
    performer: Any,
    performer_training: Any,
    concepts: Any,
    explainer: Any,
    prior: Any,
    prior_loss: Any,
    optimizer: Any,
    scheduler: Any,
    metrics: Any,
    figures: Any,
    report_figures: Any,
    callbacks: Any,
    trainer: Any,
    logger: Any,
    module: Any,
    paths: Any,
    parts: Any = None,
    control: Any = None,
    start: Any = None,
    trust: bool = False,
) -> None:
    """The root of the configuration; the signature is its schema.

    Args:
        task: Train an explainer, or only the performer that it would explain.
        beta: Constant of λ(t) = β / √t, Eq. (3); 0 trains the baseline without prior.
        seed: Of the explainer's initialisation, its data order and random concepts.
        resume: Folder of an interrupted run to continue.
        objective: What a search makes least: a number ``val/...`` of the best epoch on the validation split.
        data: This and the rest are groups under ``conf/``, each checked against its own target.
        performer: The network to explain.
        performer_training: How it is trained where it is missing.
        concepts: Which concepts explain it.
        explainer: The network that explains.
        start: An attribution that it starts from, if any.
        prior: What the performer itself suggests.
        prior_loss: Disagreement with the prior.
        optimizer: Of the explainer.
        scheduler: Of the explainer's learning rate.
        metrics: By name.
        figures: By name; drawn of validation images while the explainer trains.
        report_figures: By name; drawn in pages where they fit, such as those of parts where filters stand for parts.
        callbacks: By name.
        trainer: Lightning's.
        logger: By name.
        module: What is trained.
        paths: Folders.
        parts: How filters are given the names of object parts, if they are.
        control: What the explainer is told in place of the truth, if it is.
        trust: Treat the folder to resume as one's own, though it was made elsewhere.
    """


def check(config: DictConfig, performer: Performer | None = None) -> None:
    """Compare a composed configuration with the code before anything is built.

    Args:
        config: Composed.
        performer: The network, if it was given in Python; by default what the configuration describes.

    Raises:
        ConfigError: Naming every unknown key, wrong type, impossible value and missing value in the user's words.
    """
    problems: dict[str, str] = {}
    for problem in _problems(config, performer):
        text = problem.partition(": ")[2]
        if text not in problems or _is_taken_over(config, problems[text].partition(": ")[0]):
            problems[text] = without_values(problem, config)
    refuse(list(problems.values()))


def _problems(config: DictConfig, performer: Performer | None) -> Iterator[str]:
    try:
        missing = OmegaConf.missing_keys(config)
        values = plain(config)
    except OmegaConfBaseException as error:
        yield f"{error.full_key}: {str(error).splitlines()[0]}"
        return
    yield from name_problems(values)
    missing = {key for key in missing if not key.startswith("module.")}  # it repeats the groups
    yield from (f"{key}: needs a value, for example `{key}=...` on the command line." for key in sorted(missing))
    network = values.pop("network", None) or {}  # which `performer=network` takes over
    words = {key: value for key, value in network.items() if key != "output"}  # `performer.target`
    yield from (line for line in misfits("network", words, NamedNetwork, missing, complete=False) if "unknown" in line)
    yield from misfits("", values, root_options, missing, complete=True)
    yield from (shapeless := list(misshapen(values)))
    if shapeless or not values.keys() >= set(ALWAYS):
        return
    yield from infinite_problems(values)
    built = {**values, "module": _own(values["module"], config.module)}
    if performer is not None:
        del built["performer"]
    problems = list(problems_of_targets(built, missing))
    if performer is None and not any(key.startswith("performer.") for key in (*missing, *problems)):
        try:  # what only the performer itself knows, such as what its outputs are
            performer = outline(config)
        except ConfigError as error:
            problems.append(str(error))
    yield from problems
    if not problems and not missing:
        assert performer is not None
        yield from _contradictions(config, values, performer)


def name_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """Names of components that could lead elsewhere as parts of a file's name."""
    for group in NAMED:
        for path in _named(values.get(group), group):
            name = path.rpartition(">")[2]
            if re.search(r"[/\\\0]|\.\.|^~|^\.?$", name):
                yield f"{path.replace('>', '.')}: expected a plain name, without / and .., got {name!r}."


def _named(node: Any, path: str) -> Iterator[str]:
    """Every key below a node, with its path, in which > stands before it."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield f"{path}>{key}"
            yield from _named(value, f"{path}>{key}")
    elif isinstance(node, list):
        for value in node:
            yield from _named(value, path)


def _is_taken_over(config: DictConfig, path: str) -> bool:
    """Whether an option takes its value from another one, which is the one to mend."""
    parent, _, key = path.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return isinstance(node, DictConfig) and key in node and OmegaConf.is_interpolation(node, key)


def _contradictions(config: DictConfig, values: dict[str, Any], performer: Performer) -> Iterator[str]:
    """Values that are possible each but not together."""
    yield from _concept_problems(config, values, performer)
    yield from _part_problems(config, values, performer)
    yield from _data_problems(values, performer)
    yield from _callback_problems(values)
    trouble = list(trainer_problems(values))
    yield from trouble or _trainer_problems(values["trainer"])
    if values["task"] == "explainer":
        yield from number_problems(values)
    precision = values["trainer"].get("precision", "32-true")
    if str(precision) not in PRECISIONS:
        yield f"trainer.precision: expected one of {', '.join(PRECISIONS)}, got {precision!r}: priors need 32 bits."
    weights = values["performer"].get("weights")
    if weights is not None and not weights.isidentifier() and not Path(weights).is_file():
        yield f"performer.weights: there is no file {Path(weights).absolute()}."
    unknown = set(values["paths"]) - set(PATHS)
    yield from (f"paths.{key}: unknown key{suggest(key, PATHS)}. There are: {', '.join(PATHS)}." for key in unknown)


def outline(config: DictConfig) -> Performer:
    """The performer of a configuration without any weights or memory: names, shapes and kind of concept.

    Raises:
        ConfigError: If there is no such performer, naming the option.
    """
    target = trusted_target(config.performer._target_)
    without = getattr(target, "outlined_without", Performer.outlined_without)
    files = {name: None for name in without if name in config.performer}
    option = "performer"
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # weights that are random on purpose
            performer = instantiate(config.performer, **files)
        _ = performer.concept_names
        option = "performer.target"
        _ = performer.target_index
    except ValueError as error:
        raise ConfigError(f"{option}: {error.__cause__ or error}") from error
    return performer


def _concept_problems(config: DictConfig, values: dict[str, Any], performer: Performer) -> Iterator[str]:
    """Of the concepts, and of prior, prior loss and start, which have to suit them and each other."""
    try:
        instantiate(config.concepts)(performer.concept_names)
    except (ValueError, TypeError) as error:
        yield f"concepts: {error.__cause__ or error}"
    yield from _prior_problems(config, values, performer)
    module = values["module"]
    if module.get("ablations", 0) > 0 and performer.kind.needs_means and not module.get("centre"):
        yield (
            f"module.ablations: an {performer.kind.noun} of the head is taken away by setting it to its mean, where it "
            "must contribute nothing: `module.centre=true`."
        )
    if values.get("start") is not None:
        start = start_of(performer.kind) if config.start == "kind" else instantiate(config.start)
        if not start(n_concepts=1).taken_over:
            yield from _correction_problems(values)


def _correction_problems(values: dict[str, Any]) -> Iterator[str]:
    """Of an explainer whose weights are corrections to those of a start."""
    if values["explainer"].get("output") == "softplus":
        yield "start: it is corrected in both directions, a softplus goes one way: `explainer.output=identity`."
    if values["module"].get("concept_scale") not in (None, "auto"):
        yield (
            "module.concept_scale: corrections to a start have the sizes of its weights. Expected auto or null, or "
            "`start=none`."
        )


def _prior_problems(config: DictConfig, values: dict[str, Any], performer: Performer) -> Iterator[str]:
    """Prior and prior loss are tried on two concepts, of which one speaks for the score and one against it."""
    prior = performer.kind.prior if config.prior is None else instantiate(config.prior)
    loss = performer.kind.prior_loss if config.prior_loss is None else instantiate(config.prior_loss)
    sides = 2 if performer.kind.own_maps else len(performer.feature_shape) - 1
    x = torch.tensor([1.0, 1.0]).view(1, 2, *[1] * sides).requires_grad_()
    concepts = x.flatten(2).sum(2) if x.ndim > 2 else x * 1
    try:
        weights = prior(Performance(concepts @ torch.tensor([1.0, -1.0]), concepts, x, x))
    except ValueError as error:
        yield f"prior: {error}"
        return
    except RuntimeError:  # a prior of concepts of another shape
        return
    try:
        loss(raw=torch.ones(1, 2), weights=torch.ones(1, 2), prior=torch.tensor([[1.0, -1.0]]))
    except ValueError:
        if values["explainer"].get("output") == "identity":
            yield "prior_loss: the cross-entropy needs positive weights: `explainer.output=softplus`, or use l2."
        if bool((weights < 0).any()):
            remedy = "`prior.clamp=true`, or use l2" if "clamp" in (values["prior"] or {}) else "`prior_loss=l2`"
            yield f"prior_loss: the cross-entropy needs a positive prior, and this one is signed: {remedy}."
        return
    if bool((weights >= 0).all()) and not bool(weights.all()):
        yield "prior_loss: l2 compares directions, which a prior clamped at 0 has lost: `prior.clamp=false`."


def _part_problems(config: DictConfig, values: dict[str, Any], performer: Performer) -> Iterator[str]:
    """Of object parts: metrics and figures of them, and data from which filters get their names."""
    of_parts = [name for name, node in values["metrics"].items() if node.get("_partial_")]  # completed with their names
    if values.get("parts") is None:
        yield from (
            f"metrics: {name} needs filters that have been named, for example by `parts=erased`." for name in of_parts
        )
        if "parts_pie" in values["figures"]:
            yield "figures: a pie of parts needs filters that have been named, for example by `parts=erased`."
        return
    with contextlib.suppress(ValueError, TypeError):
        if len(instantiate(config.concepts)(performer.concept_names)) < len(performer.concept_names):
            yield from (
                f"metrics: {name} removes all filters of a part, so all must explain: `concepts=all`, or do without."
                for name in of_parts
            )
    if not hasattr(trusted_target(values["data"]["_target_"]), "part_map") or values["data"].get("parts", "") is None:
        yield (
            "parts: filters are named from masks or boxes of parts: use data=pictures with `data.parts=<file or "
            "folder>`, data=pascal_part or data=synthetic_animals, or `~parts`."
        )
    if performer.kind.maps(performer.grid(torch.zeros(1, *performer.feature_shape))) is None:
        yield f"parts: an {performer.kind.noun} has no place in the image that could be a part's: `~parts`."
    file = values["parts"].get("file")
    if file is not None and not Path(file).is_file():
        yield f"parts.file: there is no file {Path(file).absolute()}."


def _data_problems(values: dict[str, Any], performer: Performer) -> Iterator[str]:
    """Of data and performer."""
    size = values["data"].get("image_size")
    try:
        other = size is not None and Framing.of(size).shape != performer.image_shape
    except ValueError as error:
        yield f"data.image_size: {error}"
        return
    if other:
        shape = values["performer"].get("image_size", list(performer.image_shape))
        yield f"data.image_size: {size} but the performer sees images of performer.image_size={shape}. Set that alone."
    options, own = values["data"].get("framing"), performer.framing.options
    if options is not None and Framing.of(performer.image_shape, options).options != own:
        yield f"data.framing: {options} but the performer sees images framed by {own}. Leave it out."
    category, target = values["data"].get("category"), values["performer"].get("target")
    if category not in (None, target):
        yield f"data.category: {category!r} but the performer explains performer.target={target!r}. Set that alone."
    if values["data"].get("split") == "icnn" and values["performer_training"].get("flip"):
        yield (
            "performer_training.flip: the split `icnn` holds the mirror image of every object already. Use "
            "performer_training.flip=false, or data.split=voc."
        )
    if values["data"].get("flip"):
        yield "data.flip: an explainer sees every image as it is; `performer_training.flip` mirrors the performer's."


def _trainer_problems(values: dict[str, Any]) -> Iterator[str]:
    """What Lightning does not take, whatever machine it is for."""
    options = {key: value for key, value in values.items() if key not in ELSEWHERE and not key.startswith("_")}
    if refusal := refusal_of_lightning(accelerator="cpu", devices=1, **options):
        yield f"trainer: {refusal}"


def _callback_problems(values: dict[str, Any]) -> Iterator[str]:
    """Of callbacks without which a run cannot be what it should."""
    callbacks = [node for _, node in targets(values["callbacks"])]
    if values["beta"] > 0 and not any(node["_target_"].endswith("PriorWeight") for node in callbacks):
        yield "callbacks: without prior_weight λ stays 0 whatever `beta` is. Add it to the list, or give `beta=0`."
    names = {node.get("filename") for node in callbacks if node["_target_"].endswith("ModelCheckpoint")}
    yield from (
        f"callbacks: {name}_checkpoint is missing, without it a run cannot be {use}."
        for name, use in (("best", "measured"), ("last", "resumed"))
        if name not in names
    )


def _own(values: dict[str, Any], config: DictConfig) -> dict[str, Any]:
    """A node without what it takes over from elsewhere by interpolation, which is checked there."""
    return {key: value for key, value in values.items() if not OmegaConf.is_interpolation(config, key)}
