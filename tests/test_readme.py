"""README's first example runs as it is written: a stranger's network, from Python."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import resnet18
from torchvision.models._api import WeightsEnum

README = Path(__file__).parents[1] / "README.md"


def trained() -> dict[str, torch.Tensor]:
    """In place of weights that are downloaded."""
    torch.manual_seed(0)
    return resnet18().state_dict()


def test_the_first_example_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (code,) = re.findall(r"```python\n(import semexplain as sx.*?)```", README.read_text(), flags=re.DOTALL)
    assert README.read_text().index("```python") == README.read_text().index(f"```python\n{code}")
    assert len([line for line in code.splitlines() if line and line != ")"]) <= 14
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: trained())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    chance = np.random.default_rng(0)
    for number in range(24):
        pixels = chance.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((64, 48)).save(tmp_path / f"photos/{number}.jpg")
    Image.fromarray(pixels).save("me.jpg")
    code = code.replace("sx.Filters())", "sx.Filters(), options=['trainer.max_epochs=1'])")
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "layer4" in printed
    assert re.search(r"^\[\['.* [+−-]\d", printed, flags=re.MULTILINE)
    assert re.search(r"^(FAITHFUL|NOT FAITHFUL|NOT SHOWN)", printed, flags=re.MULTILINE)
    assert (tmp_path / "runs/dogs/config.yaml").exists()
