"""A network from an ONNX graph, by onnx2torch."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from semexplain.system.reading import require_file
from semexplain.system.trouble import Trouble

OPSET = 13  # of the oldest that onnx2torch knows all common operations of
TOLERANCE = 1e-4  # of float32 sums that are added up in another order


def network_of(file: Path) -> nn.Module:
    """The network of an ONNX file. Nothing outside the file's own folder is read.

    Raises:
        Trouble: If it is no such file, keeps tensors elsewhere, or has operations that onnx2torch does not know.
    """
    try:
        import onnx
        import onnx2torch
    except ImportError as error:
        raise Trouble(f"model: {error.name} is not installed: `pip install 'semexplain[onnx]'`.") from error
    file = file.expanduser()
    if not file.exists():
        raise Trouble(f"model: there is no file {file.absolute()}.")
    try:
        graph = onnx.load(str(require_file(file)), load_external_data=False)
    except Trouble:
        raise
    except Exception as error:
        raise Trouble(f"model: {file} is no ONNX file ({type(error).__name__}). Export or copy it again.") from error
    _require_beside(graph, file)
    try:
        onnx.load_external_data_for_model(graph, str(file.parent))
    except Exception as error:
        raise Trouble(f"model: tensors that {file} keeps beside it cannot be read ({error!s:.200}).") from error
    return _converted(graph, file, onnx, onnx2torch.convert)


def _converted(graph: Any, file: Path, onnx: Any, convert: Any) -> nn.Module:
    """The network, of the graph as it is or else in the operations of an older version."""
    try:
        return convert(graph)
    except Exception as error:
        for older in (_in_older_words, _called_older):
            with contextlib.suppress(Exception):
                return _equal(graph, older(graph, onnx), convert)
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise Trouble(
            f"model: onnx2torch cannot convert {file} ({text:.300}). Export it again with opset {OPSET}, or name the "
            "code that it was made from."
        ) from error


def _in_older_words(graph: Any, onnx: Any) -> Any:
    return onnx.version_converter.convert_version(graph, OPSET)


def _called_older(graph: Any, onnx: Any) -> Any:
    """The same operations, said to be of an older version: most mean the same there."""
    other = type(graph)()
    other.CopyFrom(graph)
    for opset in other.opset_import:
        if opset.domain in ("", "ai.onnx"):
            opset.version = OPSET
    return other


def _equal(graph: Any, other: Any, convert: Any) -> nn.Module:
    """The network of a changed graph, if ONNX's own evaluation of the unchanged one says the same.

    Raises:
        ValueError: If it does not.
    """
    from onnx.reference import ReferenceEvaluator

    model = convert(other).eval()
    given = {node.name for node in graph.graph.initializer}
    inputs = [node for node in graph.graph.input if node.name not in given]
    random = np.random.default_rng(0)
    values = {}
    for node in inputs:
        shape = [dimension.dim_value or 1 for dimension in node.type.tensor_type.shape.dim]
        values[node.name] = random.random(shape, dtype=np.float32)
    expected = ReferenceEvaluator(graph).run(None, values)
    with torch.no_grad():
        result = model(*map(torch.from_numpy, values.values()))
    results = result if isinstance(result, tuple | list) else [result]
    for one, another in zip(expected, results, strict=True):
        if not np.allclose(one, another.numpy(), rtol=TOLERANCE, atol=TOLERANCE * float(np.abs(one).max())):
            raise ValueError("The operations mean something else there.")
    return model


def _require_beside(graph: Any, file: Path) -> None:
    """Refuse tensors that are kept outside the folder of the file, or through a link that leads there."""
    from onnx.external_data_helper import ExternalDataInfo, _get_all_tensors, uses_external_data

    folder = file.parent.resolve()
    for tensor in filter(uses_external_data, _get_all_tensors(graph)):
        location = ExternalDataInfo(tensor).location
        place = (folder / location).resolve()
        if not location or not place.is_relative_to(folder):
            raise Trouble(
                f"model: {file} keeps the tensor {tensor.name!r} at {location!r}, outside its folder, which is refused."
            )
        if not place.is_file():
            raise Trouble(f"model: {file} keeps its tensors in {location!r}, which is not beside it. Copy both files.")
