"""All options of a run against the code, and against one another, before anything is built."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from semexplain.config import _misfits, _plain, _problems_of_targets, _refuse, _suggest, _targets, instantiate

PRECISIONS = ("32-true", "32", "bf16-mixed", "16-mixed")


PATHS = ("data", "performers", "cache", "outputs", "multirun")


def root_options(
    *,
    task: Literal["explainer", "performer"],
    beta: Annotated[float, Ge(0)],
    seed: Annotated[int, Ge(0)],
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
    callbacks: Any,
    trainer: Any,
    logger: Any,
    module: Any,
    paths: Any,
    parts: Any = None,
    control: Any = None,
    start: Any = None,
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
        callbacks: By name.
        trainer: Lightning's.
        logger: By name.
        module: What is trained.
        paths: Folders.
        parts: How filters are given the names of object parts, if they are.
        control: What the explainer is told in place of the truth, if it is.
    """


def check(config: DictConfig) -> None:
    """Compare a composed configuration with the code before anything is built.

    Raises:
        ConfigError: Naming every unknown key, wrong type, impossible value and missing value in the user's words.
    """
    told: dict[str, str] = {}
    for problem in _problems(config):
        text = problem.partition(": ")[2]
        if text not in told or _is_taken_over(config, told[text].partition(": ")[0]):
            told[text] = problem
    _refuse(list(told.values()))


def _problems(config: DictConfig) -> Iterator[str]:
    try:
        missing = OmegaConf.missing_keys(config)
        plain = _plain(config)
    except OmegaConfBaseException as error:
        yield f"{error.full_key}: {str(error).splitlines()[0]}"
        return
    missing = {key for key in missing if not key.startswith("module.")}  # it repeats the groups
    yield from (f"{key}: needs a value, for example `{key}=...` on the command line." for key in sorted(missing))
    yield from _misfits("", plain, root_options, missing, complete=True)
    found = list(_problems_of_targets({**plain, "module": _own(plain["module"], config.module)}, missing))
    yield from found
    if not found and not missing:
        yield from _contradictions(config, plain)


def _is_taken_over(config: DictConfig, path: str) -> bool:
    """Whether an option takes its value from another one, which is the one to mend."""
    parent, _, key = path.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return isinstance(node, DictConfig) and key in node and OmegaConf.is_interpolation(node, key)


def _contradictions(config: DictConfig, plain: dict[str, Any]) -> Iterator[str]:
    """Values that are possible each but not together."""
    try:
        select_concepts(config)
    except (ValueError, TypeError) as error:
        yield f"concepts: {error.__cause__ or error}"
    if plain["prior_loss"]["_target_"].endswith("prior_cross_entropy"):
        if plain["explainer"].get("output") == "identity":
            yield "prior_loss: the cross-entropy needs positive weights: `explainer.output=softplus`, or use l2."
        if plain["prior"]["_target_"].endswith("feature_ratio"):
            yield "prior_loss: the cross-entropy needs a positive prior, feature_ratio is signed: `prior_loss=l2`."
        if plain["prior"].get("clamp") is False:
            yield "prior_loss: the cross-entropy needs a positive prior: `prior.clamp=true`, or use l2."
    elif plain["prior_loss"]["_target_"].endswith("prior_l2") and plain["prior"].get("clamp"):
        yield "prior_loss: l2 compares directions, which a prior clamped at 0 has lost: `prior.clamp=false`."
    module = plain["module"]
    outputs = not plain["prior"]["_target_"].endswith("filter_jacobian")
    if module.get("ablations", 0) > 0 and outputs and not module.get("centre"):
        yield (
            "module.ablations: an output of the head is taken away by setting it to its mean, where it must contribute "
            "nothing: `module.centre=true`."
        )
    if plain.get("start") is not None and plain["explainer"].get("output") == "softplus":
        yield "start: it is corrected in both directions, a softplus goes one way: `explainer.output=identity`."
    for name in ("part_error", "part_ranks"):
        if name in plain["metrics"] and plain.get("parts") is None:
            yield f"metrics: {name} needs filters that have been named, for example by `parts=peak`."
        if name in plain["metrics"] and not plain["concepts"]["_target_"].endswith("all_concepts"):
            yield f"metrics: {name} removes all filters of a part, so all must explain: `concepts=all`, or do without."
    if "parts_pie" in plain["figures"] and plain.get("parts") is None:
        yield "figures: a pie of parts needs filters that have been named, for example by `parts=peak`."
    if plain.get("parts") is not None and "category" not in plain["data"]:
        yield "parts: filters are named from part masks: use data=pascal_part or data=synthetic_animals, or `~parts`."
    callbacks = [node for _, node in _targets(plain["callbacks"])]
    if plain["beta"] > 0 and not any(node["_target_"].endswith("PriorWeight") for node in callbacks):
        yield "callbacks: without prior_weight λ stays 0 whatever `beta` is. Add it to the list, or give `beta=0`."
    kept = {node.get("filename") for node in callbacks if node["_target_"].endswith("ModelCheckpoint")}
    yield from (
        f"callbacks: {name}_checkpoint is missing, without it a run cannot be {use}."
        for name, use in (("best", "measured"), ("last", "resumed"))
        if name not in kept
    )
    size, seen = plain["data"].get("image_size"), plain["performer"].get("image_size")
    if size != seen:
        yield f"data.image_size: {size} but the performer sees images of performer.image_size={seen}. Set that alone."
    category, target = plain["data"].get("category"), plain["performer"].get("target")
    if category not in (None, target):
        yield f"data.category: {category!r} but the performer explains performer.target={target!r}. Set that alone."
    if plain["data"].get("split") == "icnn" and plain["performer_training"].get("flip"):
        yield (
            "performer_training.flip: the split `icnn` holds the mirror image of every object already. Use "
            "performer_training.flip=false, or data.split=voc."
        )
    file = (plain.get("parts") or {}).get("file")
    if file is not None and not Path(file).is_file():
        yield f"parts.file: there is no file {Path(file).absolute()}."
    if plain["data"].get("flip"):
        yield "data.flip: an explainer sees every image as it is; `performer_training.flip` mirrors the performer's."
    precision = plain["trainer"].get("precision", "32-true")
    if str(precision) not in PRECISIONS:
        yield f"trainer.precision: expected one of {', '.join(PRECISIONS)}, got {precision!r}: priors need 32 bits."
    weights = plain["performer"].get("weights")
    if weights is not None and not weights.isidentifier() and not Path(weights).is_file():
        yield f"performer.weights: there is no file {Path(weights).absolute()}."
    unknown = set(plain["paths"]) - set(PATHS)
    yield from (f"paths.{key}: unknown key{_suggest(key, PATHS)}. There are: {', '.join(PATHS)}." for key in unknown)


def select_concepts(config: DictConfig) -> list[int]:
    """Columns of the performer's concepts that the explanation uses."""
    performer = get_object(config.performer._target_)
    names = performer.names_of_concepts(**_plain(config.performer))
    return instantiate(config.concepts)(names)


def _own(plain: dict[str, Any], config: DictConfig) -> dict[str, Any]:
    """A node without what it takes over from elsewhere by interpolation, which is checked there."""
    return {key: value for key, value in plain.items() if not OmegaConf.is_interpolation(config, key)}
