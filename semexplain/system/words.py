"""Words of a command line that hold paths: as Hydra reads them, and as a shell does."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NO_TEXT = ("null", "true", "false", "nan", "inf")  # words that Hydra reads as other values


def override(key: str, value: Any) -> str:
    r"""The word that gives an option of Hydra's exactly this value, whatever signs are in its texts.

    Args:
        key: Of the option.
        value: A path, any other text, or a plain value: null, a truth, a number, a list or a dictionary of such.

    Example:
        >>> override("resume", "outputs/1")
        'resume=outputs/1'
        >>> print(override("resume", "it's {here}"))
        resume='it\'s {here}'
        >>> override("network.output", [3, "a b"]), override("network.weights", None)
        ("network.output=[3,'a b']", 'network.weights=null')
    """
    return f"{key}={_written(value)}"


def _written(value: Any) -> str:
    if isinstance(value, bool | None):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(_written(one) for one in value)}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}: {_written(one)}' for key, one in value.items())}}}"
    text = str(value)
    if re.fullmatch(r"[A-Za-z_/][A-Za-z0-9_./-]*", text) and text.lower() not in NO_TEXT:
        return text
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", text)  # for OmegaConf, which would look for a value there
    text = re.sub(r"(\\*)('|\Z)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), text)
    return f"'{text}'"


def shown(script: str, options: Mapping[str, Path | str]) -> str:
    """A command that can be copied into a shell.

    Args:
        script: ``train.py`` or ``evaluate.py``.
        options: Values by their dotted keys.

    Example:
        >>> print(shown("train.py", {"resume": "outputs/1"}))
        python train.py resume=outputs/1
        >>> print(shown("train.py", {"resume": "a b"}))
        python train.py 'resume='"'"'a b'"'"''
    """
    return shlex.join(["python", script, *(override(key, value) for key, value in options.items())])
