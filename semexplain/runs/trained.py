"""A trained explainer from its run folder, for anyone's images: the way in for notebooks and the command line."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import replace
from io import IOBase
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from semexplain.data.arrays import RowArray
from semexplain.data.framing import Picture, WithNumbers, read_image
from semexplain.data.loading import read_ahead
from semexplain.explanation import Explanation, printable
from semexplain.performers.base import Performer
from semexplain.performers.grad_cam import score_heat
from semexplain.runs.run import Run
from semexplain.system import devices
from semexplain.system.config import ConfigError
from semexplain.system.places import expanded
from semexplain.system.trouble import Trouble
from semexplain.training.distillation import Distillation

log = logging.getLogger(__name__)
Precision = Literal["float32", "bfloat16"]


class TrainedExplainer:
    """A performer and the explainer that a run trained for it, ready to explain images.

    Args:
        module: Performer and explainer.
        precision: ``bfloat16`` computes the performer's convolutions and the explainer in it: faster, and scores move
            by about a percent of their size. Score, concepts and contributions stay float32.

    Attributes:
        target: What the score stands for.
        concepts: Names of the ``n`` concepts.
        image_shape: Channels, height and width of an image as the performer takes it.
        framing: How pictures are brought to that.
    """

    def __init__(self, module: Distillation, *, precision: Precision = "float32") -> None:
        self.module = module.eval()
        self.image_shape = module.performer.image_shape
        self.framing = module.performer.framing
        self.precision = precision
        self.target = module.performer.target_name
        self.concepts = module.teacher.concept_names

    @property
    def performer(self) -> Performer:
        """The network that is explained."""
        return self.module.performer

    @classmethod
    def of(cls, run: Run, device: str = "auto", precision: Precision = "float32") -> "TrainedExplainer":
        """The explainer of a run, on a device.

        Raises:
            ConfigError: If there is no such device or precision, or the run cannot be rebuilt.
        """
        if precision not in get_args(Precision):
            raise ConfigError(f"precision: expected one of {', '.join(get_args(Precision))}, got {precision!r}.")
        where = devices.device(device)  # refused before anything is read
        return cls(run.module.to(where), precision=precision)

    def explain(
        self,
        images: Iterable[Picture] | Picture,
        *,
        batch_size: int = 32,
        pictures: bool = False,
        progress: bool = True,
    ) -> Explanation:
        """Explain images, a batch at a time, so that memory does not grow with their number but for the result.

        A thread reads the next batch while this one is explained. Each image is framed as the performer takes it, as
        in training. A picture that cannot be read is reported in the log and left out; ``ids`` of the result say which
        were explained.

        Args:
            images: Files, PIL images, arrays ``(H, W, C)`` or ``(H, W)``, tensors ``(C, H, W)``, any of them
                :class:`~semexplain.data.framing.WithNumbers`; one of these or any iterable of them, such as a generator
                or a batch ``(B, C, H, W)``.
            batch_size: Images at a time.
            pictures: Keep the resized images and their Grad-CAM in the result, for figures.
            progress: Show a progress bar.

        Returns:
            Their explanation, in this computer's own memory.

        Raises:
            TypeError: If arrays have another type than the framing's, such as fractions in place of uint8.
            Trouble: If not one of them can be read.

        Example:
            >>> explainer = load("outputs/celeba_attractive/2026-11-23_12-00-00-000000")  # doctest: +SKIP
            >>> explainer.explain(["me.jpg", "you.jpg"]).reasons()  # doctest: +SKIP
            [['smiling +1.24', 'no bags under eyes +0.91', ...], [...]]
        """
        options: dict[str, Any] = {"batch_size": batch_size, "pictures": pictures, "progress": progress}
        return explained([self], images, **options)[0]

    def pictured(
        self,
        explanation: Explanation,
        images: Iterable[Picture],
        *,
        batch_size: int = 32,
        framed: bool = False,
        feature_maps: RowArray | None = None,
    ) -> Explanation:
        """The same explanation with its images and the Grad-CAM of their scores; nothing is explained again.

        Args:
            explanation: Of this explainer.
            images: Its images, in the same order, as :meth:`explain` takes them.
            batch_size: Images at a time.
            framed: They are tensors as the performer takes them, not to be resized or cut once more.
            feature_maps: What the performer makes of the images, if that is kept.
        """
        pictures, heats, begin = [], [], 0
        for tensors, _, _ in read_ahead(self._batches(images, batch_size, framed=framed)):
            image, rows = torch.stack(tensors), np.arange(begin, begin + len(tensors))
            begin += len(tensors)
            with torch.no_grad(), self._autocast():
                encode = self.module.performer.encode
                known = encode(image.to(self.module.device)) if feature_maps is None else feature_maps[rows]
                feature_map = torch.as_tensor(known).to(self.module.device).float()
            pictures.append(self.framing.shown(image))
            heats.append(self._heat(feature_map))
        return replace(explanation, image=torch.cat(pictures), heat=torch.cat(heats))

    def _of_maps(self, feature_map: Tensor, image: Tensor | None) -> Explanation:
        """The explanation of a batch, with its pictures if images are given."""
        with torch.no_grad(), self._autocast():
            explanation = self.module.explain_maps(feature_map)
        if image is None:
            return explanation
        return replace(explanation, image=self.framing.shown(image), heat=self._heat(feature_map))

    def _heat(self, feature_map: Tensor) -> Tensor:
        performer = self.module.performer
        return performer.geometry.upsample(score_heat(performer, feature_map), self.image_shape[1:]).cpu()

    def _autocast(self) -> torch.autocast:
        half = self.precision == "bfloat16"
        return torch.autocast(self.module.device.type, torch.bfloat16, enabled=half)

    def _batches(
        self, images: Iterable[Picture], size: int, *, framed: bool = False
    ) -> Iterator[tuple[list[Tensor], list[str], int]]:
        """Images of a batch, their names, and how many were tried."""
        pairs = enumerate(images)
        while chunk := list(islice(pairs, size)):
            tensors: list[Tensor] = []
            names: list[str] = []
            for number, picture in chunk:
                own = picture.picture if isinstance(picture, WithNumbers) else picture
                name = str(own) if isinstance(own, Path | str) else str(number)
                try:
                    done = framed and isinstance(picture, Tensor)
                    tensors.append(cast(Tensor, picture) if done else read_image(picture, self.framing))
                    names.append(name)
                except (OSError, ValueError) as error:
                    log.warning("Left out: %s", printable(str(error)))
            yield tensors, names, len(chunk)


def explained(
    explainers: Sequence[TrainedExplainer],
    images: Iterable[Picture] | Picture,
    *,
    batch_size: int = 32,
    pictures: bool = False,
    progress: bool = True,
) -> list[Explanation]:
    """What each of several explainers of one network says of images, for which the network runs once.

    Args:
        explainers: Of one network and layer, in one precision.
        images: See :meth:`TrainedExplainer.explain`; so the rest.
        batch_size: Images at a time.
        pictures: Keep the resized images and their Grad-CAM.
        progress: Show a progress bar.

    Raises:
        Trouble: If not one of the images can be read.
    """
    first = explainers[0]
    if isinstance(images, Path | str | Image.Image | IOBase | WithNumbers) or (
        hasattr(images, "ndim") and images.ndim <= 3
    ):
        images = [images]  # type: ignore[list-item]
    images = cast(Iterable[Picture], images)
    total = len(images) if isinstance(images, Sized) else None
    batches: list[list[Explanation]] = [[] for _ in explainers]
    with tqdm(total=total, desc="Explaining", unit="image", disable=None if progress else True) as bar:
        for tensors, names, count in read_ahead(first._batches(images, batch_size)):
            if names:
                image = torch.stack(tensors).to(first.module.device)
                with torch.no_grad(), first._autocast():
                    feature_map = first.module.performer.encode(image).float()
                for explainer, done in zip(explainers, batches, strict=True):
                    explanation = explainer._of_maps(feature_map, image if pictures else None)
                    done.append(replace(explanation, ids=tuple(names)))
            bar.update(count)
    if not batches[0]:
        raise Trouble("None of the images could be read; the log says why.")
    return [Explanation.join(done) for done in batches]


def load(
    run: Path | str,
    *,
    device: str = "auto",
    performer: Path | str | None = None,
    overrides: Mapping[str, Any] = {},
    precision: Precision = "float32",
    network: Performer | None = None,
    trust: bool = False,
) -> TrainedExplainer:
    """Rebuild the explainer of a run folder, without the data it was trained on.

    Args:
        run: The run's folder.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        performer: Where the performer is now, if it has moved since.
        overrides: Values to use in place of the run's own, by dotted key.
        precision: ``float32`` or ``bfloat16``, see :class:`TrainedExplainer`.
        network: What is explained, of a run whose network was given in Python.
        trust: Treat the folder as one's own, though it was made on another machine or changed since.

    Raises:
        ConfigError: If the folder is not a finished explainer's run, or the performer is gone.
        ValueError: If checkpoint and performer do not belong together.
    """
    changes = {} if performer is None else {"performer.checkpoint": str(expanded("performer", performer))}
    return TrainedExplainer.of(
        Run(expanded("run", run), {**overrides, **changes}, trust=trust, given=network), device, precision
    )
