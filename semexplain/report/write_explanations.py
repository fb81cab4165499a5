"""Every test image's contributions as a table (``explanations.parquet``)."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from semexplain.explanation import Explanation
from semexplain.runs.folder import EXPLANATIONS
from semexplain.training.distillation import Distillation


class WriteExplanations(Callback):
    """Write one row per test image into the run folder, in the data set's order, however they were batched and shared.

    The file is that of :meth:`semexplain.explanation.Explanation.save`. It appears whole or not at all.
    """

    def __init__(self) -> None:
        super().__init__()
        self._batches: list[tuple[np.ndarray, Explanation]] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier test."""
        self._batches = []

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: dict[str, torch.Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect a batch of the evaluated split."""
        if isinstance(outputs, Explanation):
            module = cast(Distillation, pl_module)
            label = module.label(batch)
            explanation = replace(module.presented(outputs), label=None if label is None else label.cpu())
            self._batches.append((batch["index"].cpu().numpy(), explanation))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the processes' batches and let the first process write them."""
        batches = self._batches
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            parts: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, batches)
            batches = [batch for part in parts for batch in part]
        if not trainer.is_global_zero or not batches:
            return
        numbers = np.concatenate([number for number, _ in batches])
        ids = trainer.datamodule.splits["test"].ids  # type: ignore[attr-defined]
        explanation = Explanation.join([explanation for _, explanation in batches])
        explanation = replace(explanation, ids=tuple(ids[number] for number in numbers))
        order = np.unique(numbers, return_index=True)[1]  # an image that counts several times has one row
        explanation[order].save(Path(trainer.default_root_dir) / EXPLANATIONS)
