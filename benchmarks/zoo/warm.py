"""What all processes of the zoo import, so that it is imported once: they are forked from one that has."""

import contextlib

import matplotlib.pyplot  # noqa: F401
import pytorch_lightning  # noqa: F401
import torchvision  # noqa: F401

import semexplain.runs.explainer
import semexplain.runs.tasks  # noqa: F401

for library in ("timm", "transformers", "onnx2torch"):
    with contextlib.suppress(ImportError):
        __import__(library)
