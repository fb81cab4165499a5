"""A training whose numbers have become useless, told as what it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from safetensors.torch import save
from torch import Tensor

from semexplain.explanation import Explanation
from semexplain.system.files import whole_file, write_json
from semexplain.system.processes import of_all_processes, process
from semexplain.system.trouble import Trouble

NEVER = 2**62
WORSE = 10  # times the loss before anything was learned
STATE = ("least", "limit", "first", "last")


class DivergedError(Trouble):
    """The training diverged."""


class Seen(NamedTuple):
    """What is known of a batch: its number in the epoch, its losses or predictions, the positions of its images."""

    batch: int
    numbers: Tensor
    images: Tensor


class Divergence(Callback):
    """End a training before anything of it is kept once its weights or predictions are no numbers.

    The weights are looked at when an epoch's steps are done, the predictions when the validation is, and nothing in
    between, so that no step waits for the device. ``diverged.json`` and ``diverged.safetensors`` are the batch at
    fault: the first whose loss, or whose predictions, were no numbers.

    Args:
        folder: Where the batch is written.
        option: The learning rate in the user's words, ``optimizer.lr``.
        measure: A number of the validation, the less the better.
        limit: A training at whose best epoch it is above this, and whose loss is more than ten times that of the first
            step, when nothing had been learned, has diverged as well; by default this too is ten times that loss.
        meaning: What that says, in a sentence with places for the number and the limit.

    Raises:
        DivergedError: With the epoch and what to do.
    """

    def __init__(self, folder: Path, option: str, measure: str, meaning: str, limit: float | None = None) -> None:
        super().__init__()
        self.folder = folder
        self.option = option
        self.measure = measure
        self.limit = limit
        self.meaning = meaning
        self.least: float | None = None
        self.first: float | None = None
        self.last: float | None = None
        self._seen: list[Seen] = []  # since the last look

    def state_dict(self) -> dict[str, Any]:
        """The best value so far, the limit, and the losses of the first step and the last epoch."""
        return {name: getattr(self, name) for name in STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with those of an interrupted training."""
        for name in STATE:
            setattr(self, name, state_dict[name])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Mapping[str, Tensor], batch_idx: int
    ) -> None:
        """Note the loss, without a look at it."""
        if isinstance(outputs, Mapping) and "loss" in outputs:
            self._note(batch_idx, outputs["loss"], batch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the weights where no validation follows the steps."""
        self._look_at_weights(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the weights before anything is computed with them."""
        self._look_at_weights(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Mapping[str, Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Note the predictions, without a look at them."""
        self._note(batch_idx, outputs.prediction if isinstance(outputs, Explanation) else outputs, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the predictions before they are drawn or measured."""
        seen, self._seen = self._seen, []
        if seen and not trainer.sanity_checking:
            finite = torch.cat([one.numbers for one in seen]).isfinite().all()
            self._refuse_unless(bool(finite), trainer, "val", seen)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the epoch's number."""
        value = trainer.callback_metrics.get(self.measure)
        if value is not None and not trainer.sanity_checking and not value.isnan():
            self.least = float(value) if self.least is None else min(self.least, float(value))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a training that has led nowhere."""
        if self.least is None or self.limit is None or self.first is None or self.last is None:
            return
        fits = self.least <= self.limit or self.last <= WORSE * self.first
        if not trainer.strategy.reduce_boolean_decision(fits, all=True):
            told = self.meaning.format(self.least, self.limit)
            raise DivergedError(f"The training diverged: {told} {self._remedy(trainer)}")

    def _note(self, batch_idx: int, numbers: Tensor, batch: Mapping[str, Tensor]) -> None:
        self._seen.append(Seen(batch_idx, numbers.detach().flatten(), batch["index"]))

    def _look_at_weights(self, trainer: Trainer, module: LightningModule) -> None:
        seen, self._seen = self._seen, []
        if seen and not trainer.sanity_checking:
            losses = torch.stack([one.numbers[0] for one in seen])
            self.first, self.last = self.first or float(losses[0]), float(losses.mean())
            self.limit = self.limit or WORSE * max(self.first, 1.0)
            weights = [parameter.detach() for parameter in module.parameters() if parameter.requires_grad]
            finite = torch.stack([weight.isfinite().all() for weight in weights]).all()
            self._refuse_unless(bool(finite), trainer, "train", seen)

    def _refuse_unless(self, finite: bool, trainer: Trainer, split: str, seen: list[Seen]) -> None:
        """In all processes or none: one that goes on would wait for the others."""
        if trainer.strategy.reduce_boolean_decision(finite, all=True):
            return
        faults = [one for one in seen if not bool(one.numbers.isfinite().all())]
        fault = faults[0] if faults else seen[-1]
        places = of_all_processes(torch.tensor([fault.batch if faults else NEVER]))
        if process()[0] == int(places.argmin()):
            self._save(trainer, split, fault)
        number = f"loss {float(fault.numbers[0]):g} at step {fault.batch + 1}"
        detail = number if split == "train" else "its predictions of validation images are no numbers"
        raise DivergedError(
            f"The training diverged in epoch {trainer.current_epoch + 1} ({detail}). {self._remedy(trainer)} The batch "
            f"is kept in {self.folder / 'diverged.json'}."
        )

    def _save(self, trainer: Trainer, split: str, fault: Seen) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        rows = fault.images.cpu().tolist()
        dataset = data.dataset(split, flip=data.flip_train and split == "train")
        dataset.set_epoch(trainer.current_epoch)
        images = [dataset[row] for row in rows]
        batch = {name: torch.stack([image[name] for image in images]).cpu() for name in images[0]}
        with whole_file(self.folder / "diverged.safetensors") as partial:
            partial.write_bytes(save(batch))
        facts = {"split": split, "epoch": trainer.current_epoch + 1, "batch": fault.batch + 1}
        numbers, ids = [str(value) for value in fault.numbers.tolist()], [data.splits[split].ids[row] for row in rows]
        write_json(self.folder / "diverged.json", {**facts, "numbers": numbers, "ids": ids})

    def _remedy(self, trainer: Trainer) -> str:
        rates = [group.get("initial_lr", group["lr"]) for group in trainer.optimizers[0].param_groups]
        return f"Lower {self.option} (now {max(map(float, rates)):g})."
