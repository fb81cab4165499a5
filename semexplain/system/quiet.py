"""Messages of other packages that say nothing to a user of this one."""

import logging
import warnings

WARNINGS = {
    r"Found \d+ module\(s\) in eval mode": "the performer is frozen on purpose",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated": "Lightning 2.6 with torch 2.15",
    r"Experiment logs directory .* exists and is not empty": "it is the run folder; a resumed run keeps its old file",
    r".*does not have many workers": "cached arrays are read fastest without workers",
    r"The number of training batches .* is smaller than the logging interval": "training is logged by epoch",
    r"It is recommended to use `self.log\(.* sync_dist=True": "metrics are of all processes before they are logged",
    r"(Possibly c|C)orrupt EXIF data": "tags that nobody can read turn nothing",
    r"Image size \(\d+ pixels\) exceeds limit": "such images are refused with a sentence",
    r"Checkpoint directory .* exists and is not empty": "a resumed run continues in its folder",
}
LOGGED = ("litlogger", "litmodels", "GPU available", "TPU available", "HPU available", "Restor", "Loaded model weights")


def hush() -> None:
    """Leave out what is listed here, and that a line could not be added to a log, for example on a full disk."""
    logging.raiseExceptions = False
    for message in WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    warnings.formatwarning = lambda message, category, *_, **__: f"{category.__name__}: {message}\n"
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).addFilter(_wanted)


def _wanted(record: logging.LogRecord) -> bool:
    return not any(text in record.getMessage() for text in LOGGED)
