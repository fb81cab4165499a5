"""The known performers: small networks for drawn faces or drawn dogs, trained with the package's own training."""

from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from semexplain.data.module import ImageDataModule
from semexplain.performers.base import Performer
from semexplain.runs.build import built_performer, labelled_data
from semexplain.runs.explainer import composed
from semexplain.runs.performer_store import performer_metrics, trained_performer

ROOT = Path(__file__).parents[2]


class World(NamedTuple):
    """Pictures that are drawn once, for all performers that look at them.

    Attributes:
        name: Of the world.
        overrides: Its experiment and its data.
        scores: All scores whose truth is found; not all are explained.
        concepts: The ``k`` that are drawn away; all ``2**k`` states of an explained image are drawn.
        images: Test images that are explained.
        memory: Training images of which only the effects of single removals are known.
    """

    name: str
    overrides: tuple[str, ...]
    scores: tuple[str, ...]
    concepts: tuple[str, ...]
    images: int
    memory: int


class Known(NamedTuple):
    """A performer of the bench; one of faces is explained for several scores.

    Attributes:
        world: What it sees.
        targets: What its scores stand for.
        width: Channels of its first convolution.
        seed: Of its training.
        tuning: Whether thresholds may be set on it; then it is not reported.
    """

    world: World
    targets: tuple[str, ...]
    width: int
    seed: int
    tuning: bool = False

    @property
    def name(self) -> str:
        """Unlike that of any other performer."""
        return f"{self.world.name.replace(' ', '_')}-width{self.width}-seed{self.seed}"


SCORES, DOG = ("Attractive", "Heavy_Makeup", "Male", "Young"), ("dog",)
KINDRED = {"Attractive": "Heavy_Makeup", "Heavy_Makeup": "Attractive"}  # scores that share most of their causes
DIFFERENT = "Young"
CAUSES = (
    *("Arched_Eyebrows", "Bags_Under_Eyes", "Big_Nose", "Eyeglasses", "Smiling", "Wavy_Hair", "Wearing_Lipstick"),
)
PARTS = ("ear", "eye", "leg", "mouth_and_nose", "tail", "torso")
FACES_TRAINED = (
    *("experiment=demo", "data.train=2500", "data.valid=400", "data.test=400", "data.num_workers=0"),
    *("performer.dropout=0.1", "performer.hidden=128", "performer_training.max_epochs=14"),
    *("performer_training.patience=null", "performer_training.batch_size=32", "performer_training.optimizer.lr=2e-3"),
    "+performer_training.scheduler={_target_: torch.optim.lr_scheduler.CosineAnnealingLR, _partial_: true, T_max: 14}",
)
ANIMALS_TRAINED = (
    *("experiment=known_animals", "data.train=1800", "data.valid=1200", "data.negatives_count=500"),
    *("data.draw_size=128", "data.num_workers=0", "performer.hidden=128", "performer_training.max_epochs=10"),
)
FACES = World("drawn faces", (*FACES_TRAINED, "data.draw_seed=0"), SCORES, CAUSES, 150, 600)
DOGS = World("drawn dogs", (*ANIMALS_TRAINED, "data.draw_seed=0"), DOG, PARTS, 150, 300)
# Other pictures than those of the reported performers.
OTHER_FACES = World("other faces", (*FACES_TRAINED, "data.draw_seed=1"), SCORES, CAUSES, 150, 600)
OTHER_DOGS = World("other dogs", (*ANIMALS_TRAINED, "data.draw_seed=1"), DOG, PARTS, 150, 300)

LOOKS, ROLES = ("Attractive", "Heavy_Makeup"), ("Attractive", "Male")
PERFORMERS = (
    Known(FACES, LOOKS, 8, 6),
    Known(FACES, ROLES, 6, 2),
    Known(FACES, LOOKS, 8, 3),
    Known(FACES, ROLES, 10, 4),
    Known(FACES, LOOKS, 6, 5),
    Known(DOGS, DOG, 8, 6),
    Known(DOGS, DOG, 8, 2),
    Known(DOGS, DOG, 4, 3),
    Known(DOGS, DOG, 12, 4),
    Known(DOGS, DOG, 4, 5),
    Known(OTHER_FACES, LOOKS, 8, 11, tuning=True),
    Known(OTHER_FACES, ROLES, 6, 12, tuning=True),
    Known(OTHER_DOGS, DOG, 8, 11, tuning=True),
    Known(OTHER_DOGS, DOG, 12, 12, tuning=True),
)


def other_scores(target: str) -> dict[str, str]:
    """Scores whose explanations are no explanations of this one, by what they are to it.

    Example:
        >>> other_scores("Male")
        {'another score': 'Young'}
    """
    kindred = {"a kindred score": KINDRED[target]} if target in KINDRED else {}
    return {"another score": DIFFERENT, **kindred}


def configured(known: Known, place: Path) -> DictConfig:
    """The configuration of a performer, with all that it keeps in one folder."""
    paths = [f"paths.{name}={place / name}" for name in ("data", "performers", "cache", "outputs")]
    own = [f"performer.target={known.targets[0]}", f"performer.width={known.width}"]
    training = [f"performer_training.seed={known.seed}", "trainer=cpu", "logger=[csv]"]
    return composed("train", [*known.world.overrides, *own, *training, *paths])


def trained(known: Known, place: Path) -> tuple[dict[str, Performer], ImageDataModule, dict[str, float]]:
    """The performer for each score, frozen; its data; and how well it does. It is trained if nobody has.

    Returns:
        By score the performer, the data after ``setup``, and by target the balanced accuracy on test images.
    """
    config = configured(known, place)
    datamodule = labelled_data(config)
    checkpoint = trained_performer(config, datamodule)
    assert checkpoint is not None
    measured = performer_metrics(checkpoint)
    accuracy = {target: measured[f"test/balanced_accuracy/{target}"] for target in known.targets}
    performers = {}
    for target in known.world.scores:
        config.performer.target = target
        performers[target] = built_performer(config, checkpoint).freeze()
    return performers, datamodule, accuracy
