"""Figures of validation images while the explainer trains, in whichever logger there is."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
from annotated_types import Ge
from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import Logger, WandbLogger
from torch import Tensor

from semexplain.explanation import Explanation
from semexplain.report.figures.bars import bars
from semexplain.system.files import whole_file
from semexplain.training.distillation import Distillation

FOLDER = "figures"


class LogExplanations(Callback):
    """Explain the same validation images every few epochs, and after the last.

    Weights & Biases gets the figures, a table of the images with figure and reasons, and histograms of weights and
    contributions; a logger with ``add_figure``, such as TensorBoard's, the figures. If there is none of them, they are
    written as PNG into the run folder, ``figures/<name>/epoch-0005.png``.

    The performer is frozen, so it sees the images once; the feature maps are kept.

    Args:
        figures: Functions from an explanation to a figure, by name.
        images: How many validation images, evenly from all of them.
        every_n_epochs: How often.
        table_images: How many of them have a row in the table.
    """

    def __init__(
        self,
        figures: Mapping[str, Callable[[Explanation], Figure]],
        images: Annotated[int, Ge(1)] = 32,
        every_n_epochs: Annotated[int, Ge(1)] = 5,
        table_images: Annotated[int, Ge(1)] = 8,
    ) -> None:
        super().__init__()
        self.figures = dict(figures)
        self.images = images
        self.every_n_epochs = every_n_epochs
        self.table_images = table_images
        self._maps: list[tuple[Tensor, Tensor]] = []
        self._ids: tuple[str, ...] = ()

    @torch.no_grad()
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the performer see the images, unless what it sees there is stored."""
        self._maps = []
        if not trainer.is_global_zero or not trainer.loggers:
            return
        data, performer = trainer.datamodule, cast(Distillation, pl_module).performer  # type: ignore[attr-defined]
        split = data.splits["val"]
        rows = torch.linspace(0, len(split.ids) - 1, min(self.images, len(split.ids))).round().long().tolist()
        self._ids = tuple(split.ids[row] for row in rows)
        stored = data.arrays("val").get("feature_map")
        for start in range(0, len(rows), data.batch_size):
            some = rows[start : start + data.batch_size]
            image = torch.stack([split.read(row, data.framing) for row in some])
            if stored is None:
                maps = performer.encode(image.to(pl_module.device))
            else:
                maps = torch.as_tensor(stored[np.array(some)])
            self._maps.append((maps.float().cpu(), image))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain and draw."""
        epoch = trainer.current_epoch + 1
        due = epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs
        if trainer.sanity_checking or not self._maps or not due:
            return
        module = cast(Distillation, pl_module)
        parts = [module.explain_maps(maps.to(module.device), image.to(module.device)) for maps, image in self._maps]
        explanation = replace(Explanation.join(parts), ids=self._ids)
        figures = {name: draw(explanation) for name, draw in self.figures.items()}
        results = [self._log(logger, figures, explanation, trainer) for logger in trainer.loggers]
        if not any(results):
            for name, figure in figures.items():
                save_figure(figure, Path(trainer.default_root_dir) / FOLDER / name / f"epoch-{epoch:04}.png")

    def _log(self, logger: Logger, figures: Mapping[str, Figure], explanation: Explanation, trainer: Trainer) -> bool:
        """Whether a logger has taken the figures."""
        if isinstance(logger, WandbLogger):
            logger.experiment.log({**self._of_wandb(figures, explanation), "epoch": trainer.current_epoch})
            return True
        add_figure = getattr(getattr(logger, "experiment", None), "add_figure", None)
        if add_figure is None:
            return False
        for name, figure in figures.items():
            add_figure(f"explanations/{name}", figure, trainer.global_step)
        return True

    def _of_wandb(self, figures: Mapping[str, Figure], explanation: Explanation) -> dict[str, Any]:
        import wandb  # a second to import, and only these runs need it

        some = explanation[: self.table_images]
        assert some.image is not None
        columns: list[str | int] = ["id", "image", "score", "prediction", "residual", "reasons", "figure"]
        table = wandb.Table(columns=columns)
        for row, one in enumerate(some):
            image = wandb.Image(some.image[row].permute(1, 2, 0).numpy())
            numbers = (float(one.score), float(one.prediction), float(one.residual))
            table.add_data(one.ids[0], image, *numbers, "; ".join(one.reasons()[0]), wandb.Image(bars(one)))
        return {
            **{f"explanations/{name}": wandb.Image(figure) for name, figure in figures.items()},
            "explanations/table": table,
            "explanations/weights": wandb.Histogram(explanation.weights.flatten().tolist()),
            "explanations/contributions": wandb.Histogram(explanation.contributions.flatten().tolist()),
        }


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with whole_file(path) as partial:
        figure.savefig(partial, format="png")
