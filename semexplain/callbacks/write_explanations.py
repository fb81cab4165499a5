"""Every test image's contributions as a table (``explanations.parquet``)."""

import os
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from semexplain.explanation import Explanation
from semexplain.modules.distillation import Distillation


class WriteExplanations(Callback):
    """Write one row per test image into the run folder, in the data set's order, however they were batched and shared.

    Columns: ``id``, ``label`` (ground truth of the target), ``score`` (ŷ), ``prediction`` (Σ αᵢyᵢ + b), ``bias``
    (b), and for every concept ``y/<name>``, ``alpha/<name>`` and ``contribution/<name>`` (αᵢyᵢ), all float32. The
    file appears whole or not at all.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[dict[str, np.ndarray]] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier test."""
        self._rows = []

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
        if not isinstance(outputs, Explanation):
            return
        label = cast(Distillation, pl_module).label(batch)
        self._rows.append(
            {
                "index": batch["index"].cpu().numpy(),
                "label": label.cpu().numpy(),
                "score": outputs.score.float().cpu().numpy(),
                "prediction": outputs.prediction.float().cpu().numpy(),
                "bias": outputs.bias.float().expand_as(outputs.score).cpu().numpy(),
                "y": outputs.concepts.float().cpu().numpy(),
                "alpha": outputs.weights.float().cpu().numpy(),
                "contribution": outputs.contributions.float().cpu().numpy(),
            }
        )

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the processes' rows and let the first process write them."""
        rows = self._rows
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            gathered: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(gathered, rows)
            rows = [row for part in gathered for row in part]
        if not trainer.is_global_zero or not rows:
            return
        columns = {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}
        order = np.unique(columns["index"], return_index=True)[1]  # an image that counts several times has one row
        columns = {key: value[order] for key, value in columns.items()}
        ids = np.asarray(trainer.datamodule.splits["test"].ids)[columns["index"]]  # type: ignore[attr-defined]
        table = {"id": pa.array(ids), **{key: columns[key] for key in ("label", "score", "prediction", "bias")}}
        for kind in ("y", "alpha", "contribution"):
            for column, name in enumerate(cast(Distillation, pl_module).concept_names):
                table[f"{kind}/{name}"] = columns[kind][:, column]
        path = Path(trainer.default_root_dir) / "explanations.parquet"
        partial = path.with_suffix(".partial")
        pq.write_table(pa.table(table), partial)
        os.replace(partial, path)
