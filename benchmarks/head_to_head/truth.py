"""What each concept of a drawn image truly contributes to a performer's score, found by drawing it again without."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.head_to_head.shapley import coalitions, interventional, shapley_values
from semexplain.data.drawn.scenes import Redrawable, Scene
from semexplain.data.module import ImageDataModule, evenly
from semexplain.explanation.table import METADATA, read_noted
from semexplain.judgement.drawn import change_when_drawn_anew
from semexplain.metrics.ranks import rank_correlation
from semexplain.performers.base import Performer
from semexplain.system.files import whole_file
from semexplain.system.row_store import RowStore, Source

MOST = 12  # concepts whose Shapley values are computed: 4096 pictures of every image
IMAGES_PER_SHARD = 8  # what an interruption costs at most
SAME_PICTURE = 0.05  # by how much of an image's range of scores its file and its drawing may differ


@dataclass(frozen=True, eq=False)
class Truth:
    r"""True contributions to the scores of ``N`` drawn images, measured in two ways.

    A concept that is taken away from an image is drawn anew: present with its rate r, be it as before or not. Where all
    rates are 0 it is simply absent. All else stays as in the image, pixel by pixel.

    .. math:: v(S) = \mathbb{E}\, \hat y(\text{the image with the concepts outside } S \text{ drawn anew})

    Attributes:
        target: What the score stands for.
        ids: Names of the images.
        names: The ``k`` concepts that share the score out.
        values: ``(N, k)``. Their exact Shapley values in the game v; they add up to ``score - base``.
        removable: All ``K`` concepts that can be drawn anew, those of ``names`` among them.
        removal: ``(N, K)``. Drop of the score when this concept alone is taken away.
        rates: ``(K,)``. How often each is present when it is taken away.
        score: ``(N,)``. Scores of the images.
        base: ``(N,)``. Expected scores without all of ``names``.

    Raises:
        ValueError: If shapes or numbers of names do not fit each other.

    Example:
        >>> truth = Truth(
        ...     target="Attractive",
        ...     ids=("a.jpg",),
        ...     names=("Smiling",),
        ...     values=torch.tensor([[0.5]]),
        ...     removable=("Goatee", "Smiling"),
        ...     removal=torch.tensor([[0.0, 0.5]]),
        ...     rates=torch.tensor([0.1, 0.5]),
        ...     score=torch.tensor([2.0]),
        ...     base=torch.tensor([1.5]),
        ... )
        >>> truth.kind, truth.aligned(["a.jpg"], ["Attractive", "Smiling"])
        ('interventional', tensor([[   nan, 0.5000]]))
    """

    target: str
    ids: tuple[str, ...]
    names: tuple[str, ...]
    values: Tensor
    removable: tuple[str, ...]
    removal: Tensor
    rates: Tensor
    score: Tensor
    base: Tensor

    def __post_init__(self) -> None:
        size, k, every = len(self.ids), len(self.names), len(self.removable)
        expected = {"values": (size, k), "removal": (size, every), "rates": (every,), "score": (size,), "base": (size,)}
        for name, shape in expected.items():
            found = tuple(getattr(self, name).shape)
            if found != shape:
                raise ValueError(f"{name} must have the shape {shape}, got {found}.")

    @property
    def kind(self) -> Literal["interventional", "absent"]:
        """Whether concepts that are taken away are drawn with their rates, or absent."""
        return "interventional" if bool(self.rates.any()) else "absent"

    def aligned(self, ids: Sequence[str], concepts: Sequence[str], *, removal: bool = False) -> Tensor:
        """The truth in the order of someone else's images and concepts, to be compared with what they say.

        Args:
            ids: ``B`` images.
            concepts: ``n`` concepts.
            removal: Of taking each away alone, instead of Shapley values.

        Returns:
            ``(B, n)``; nan for images and concepts of which the truth is not known.
        """
        names, table = (self.removable, self.removal) if removal else (self.names, self.values)
        unknown = torch.nn.functional.pad(table, (0, 1, 0, 1), value=torch.nan)  # the last row and the last column
        rows = [self.ids.index(name) if name in self.ids else -1 for name in ids]
        columns = [names.index(name) if name in names else -1 for name in concepts]
        return unknown[rows][:, columns]

    def save(self, path: Path | str) -> None:
        """Write a parquet file: ``id``, ``score``, ``base``, ``shapley/<name>`` and ``removal/<name>`` of each name."""
        columns = {"id": pa.array(self.ids, pa.string()), "score": self.score.numpy(), "base": self.base.numpy()}
        columns |= {f"shapley/{name}": self.values[:, i].numpy() for i, name in enumerate(self.names)}
        columns |= {f"removal/{name}": self.removal[:, i].numpy() for i, name in enumerate(self.removable)}
        noted = {"target": self.target, "rates": self.rates.tolist()}
        table = pa.table(columns).replace_schema_metadata({METADATA: json.dumps(noted).encode()})
        with whole_file(Path(path)) as partial:
            pq.write_table(table, partial)

    @classmethod
    def load(cls, path: Path | str) -> "Truth":
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is not one of a truth.
        """
        path = Path(path)
        table, noted = read_noted(path, "the known truth")
        missing = [name for name in ("id", "score", "base") if name not in table.column_names]
        if missing or "rates" not in noted:
            raise ValueError(f"{path} holds no known truth: {', '.join(missing) or 'the rates'} missing.")

        def gathered(kind: str) -> tuple[tuple[str, ...], Tensor]:
            found = [name for name in table.column_names if name.startswith(kind)]
            rows = np.stack([table[name].to_numpy() for name in found], axis=1) if found else np.empty((len(table), 0))
            return tuple(name.removeprefix(kind) for name in found), torch.from_numpy(rows)

        names, values = gathered("shapley/")
        removable, removal = gathered("removal/")
        score, base = (torch.from_numpy(table[name].to_numpy().copy()) for name in ("score", "base"))
        rates = torch.tensor(noted["rates"], dtype=torch.float64)
        return cls(
            noted["target"], tuple(table["id"].to_pylist()), names, values, removable, removal, rates, score, base
        )


def known_truth(
    performer: Performer,
    datamodule: ImageDataModule,
    names: Sequence[str],
    *,
    cache: Path,
    images: int = 100,
    batch_size: int = 256,
) -> Truth:
    """Draw test images in every state of some concepts, and with every other one changed, and let the performer score.

    ``2**k + K`` pictures of every image are drawn, by the data module's worker processes while the performer scores
    those before, and none is kept. Their scores are: another call computes only those of images that it has not seen.

    Args:
        performer: A trained one, on the device where it is to compute; it is frozen.
        datamodule: Drawn images, after ``setup``.
        names: At most 12 concepts that share the score out; with none, only the effects of single removals are found.
        cache: Folder where scores are kept.
        images: Number of test images, evenly spread; all if there are fewer.
        batch_size: Pictures that the performer scores at a time.

    Raises:
        TypeError: If the images of the data module cannot be drawn again.
        ValueError: If there are too many names, one twice or one that cannot be drawn; if no test image can be drawn
            again; or if the files are not what is drawn now.
    """
    if not isinstance(datamodule, Redrawable):
        raise TypeError(
            f"The truth is known of drawn images only; those of {type(datamodule).__name__} cannot be drawn again. "
            "Use `data=synthetic_faces` or `data=synthetic_animals`."
        )
    columns, k = _columns(names, datamodule.redrawable), len(names)
    scenes = _spread(datamodule.scenes("test"), images)
    ids = [datamodule.splits["test"].ids[scene.position] for scene in scenes]
    described = [performer.freeze().digest(), performer.variant, performer.encode_variant, datamodule.fingerprint()]
    key = hashlib.sha256(json.dumps([*described, list(names), datamodule.redrawable]).encode()).hexdigest()[:24]
    pictures = 2**k + len(datamodule.redrawable)
    store = RowStore(cache / f"truth-{key}", shard_bytes=4 * IMAGES_PER_SHARD * pictures)

    def score_all(positions: NDArray[np.int64]) -> Iterator[dict[str, Tensor]]:
        drawn = _Pictures([scenes[position] for position in positions], columns)
        workers = min(datamodule.num_workers, os.cpu_count() or 1) if len(drawn) > batch_size else 0
        waiting = torch.empty(0)
        for picture in DataLoader(drawn, batch_size, num_workers=workers, generator=torch.Generator()):
            waiting = torch.cat([waiting, _scores(performer, picture)])
            while len(waiting) >= pictures:
                yield {"score": waiting[None, :pictures]}
                waiting = waiting[pictures:]

    store.fill(Source(ids, score_all), f"truth of {performer.target_name}")
    scores = torch.from_numpy(store.rows("score", ids)[:]).double()

    present = torch.from_numpy(np.stack([scene.present for scene in scenes]))
    rates = torch.from_numpy(datamodule.rates())
    states, changed = scores.split([2**k, len(rates)], dim=1)
    own = present[:, columns]
    score = states.gather(1, (own.long() @ 2 ** torch.arange(k))[:, None])
    _require_same(score[:, 0], scores, performer, datamodule, scenes, batch_size)
    game = interventional(states, own, rates[columns])
    return Truth(
        target=performer.target_name,
        ids=tuple(ids),
        names=tuple(names),
        values=shapley_values(game),
        removable=datamodule.redrawable,
        removal=change_when_drawn_anew(present, rates, score, changed),
        rates=rates,
        score=score[:, 0],
        base=game[:, 0],
    )


def agreement(truth: Truth) -> float:
    """How far the two truths agree with each other: what no explanation can be expected to exceed.

    Returns:
        Spearman's correlation of Shapley values with effects of single removal, over the concepts that have both; mean
        of the images in which both have an order, nan if there is none.

    Example:
        >>> values, removal = torch.tensor([[0.4, 0.1, 0.2]]), torch.tensor([[0.5, 0.0, 0.1]])
        >>> names, rates, one = ("Bald", "Bangs", "Smiling"), torch.zeros(3), torch.ones(1)
        >>> agreement(Truth("Young", ("a.jpg",), names, values, names, removal, rates, one, one))
        1.0
    """
    removal = truth.removal[:, [truth.removable.index(name) for name in truth.names]]
    return float(rank_correlation(truth.values, removal).nanmean())


class _Pictures(Dataset[Tensor]):
    """Of every scene one picture for each state of some concepts, then one for each concept with it alone changed."""

    def __init__(self, scenes: Sequence[Scene], columns: Sequence[int]) -> None:
        self.scenes = scenes
        self.columns = list(columns)
        self.states = coalitions(len(columns)).numpy()
        self.each = len(self.states) + len(scenes[0].present)

    def __len__(self) -> int:
        return len(self.scenes) * self.each

    def __getitem__(self, number: int) -> Tensor:
        scene, row = self.scenes[number // self.each], number % self.each
        present = scene.present.copy()
        if row < len(self.states):
            present[self.columns] = self.states[row]
        else:
            present[row - len(self.states)] ^= True
        return scene.draw(present)


def _columns(names: Sequence[str], redrawable: Sequence[str]) -> list[int]:
    if len(names) > MOST:
        raise ValueError(f"Shapley values are computed of at most {MOST} concepts, got {len(names)}. Choose some.")
    unknown = [name for name in names if name not in redrawable]
    if unknown:
        raise ValueError(
            f"Images cannot be drawn again with or without {', '.join(unknown)}, which have no picture of their own. "
            f"Choose from {', '.join(redrawable)}."
        )
    if len(set(names)) < len(names):
        raise ValueError(f"Each concept can take part once, got {', '.join(names)}.")
    return [redrawable.index(name) for name in names]


def _spread(scenes: Sequence[Scene], count: int) -> list[Scene]:
    """``count`` of them at even distances, the first and the last included."""
    if count < 1:
        raise ValueError(f"`images` must be at least 1, got {count}.")
    if not scenes:
        raise ValueError("No test image can be drawn again; use more images.")
    return [scenes[position] for position in evenly(np.arange(len(scenes)), count)]


def _scores(performer: Performer, picture: Tensor) -> Tensor:
    return performer(picture.to(performer.device)).score.float().cpu()


def _require_same(
    score: Tensor,
    scores: Tensor,
    performer: Performer,
    datamodule: ImageDataModule,
    scenes: Sequence[Scene],
    batch_size: int,
) -> None:
    """Whether the performer says of the files what it says of the same images drawn again."""
    split, size = datamodule.splits["test"], datamodule.image_size
    files = torch.stack([split.read(scene.position, size) for scene in scenes])
    read = torch.cat([_scores(performer, batch) for batch in files.split(batch_size)]).double()
    spread = scores.max(1).values - scores.min(1).values
    wrong = (read - score).abs() > SAME_PICTURE * spread + 1e-3 * score.abs()
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        path = split.paths[scenes[first].position]
        raise ValueError(
            f"{path} has the score {read[first]:.4f}, but the same image drawn again has {score[first]:.4f}: the file "
            "is from another version of the drawing. Delete the data set's folder; it will be drawn again."
        )
