"""Folders as finished runs leave them, with numbers to be found again in the tables."""

import json
from pathlib import Path
from typing import Any

import yaml

ANIMALS = ("bird", "cat", "cow", "dog", "horse", "sheep")
FACES = ("Attractive", "Heavy_Makeup", "Male", "Young")
NETWORKS = ("alexnet", "vgg_m", "vgg_s", "vgg16")
PACKAGE = "semexplain."


def numbers(entropy: float = 3.0, deviation: float = 0.05, accuracy: float = 0.9, **more: float) -> dict[str, float]:
    """``metrics.json`` of a run; the performer is right in 90 % of 50 objects."""
    found = {
        "contribution_entropy": entropy,
        "relative_deviation": deviation,
        "performer_accuracy": 0.9,
        "explainer_accuracy_tau_eval": accuracy,
        "explainer_accuracy_tau_train": accuracy - 0.01,
        "explainer_accuracy_tau_0": accuracy - 0.02,
        "linear_map_contribution_entropy": 2.5,
        "linear_map_relative_deviation": 0.08,
        "linear_map_accuracy_tau_0": 0.85,
        **more,
    }
    return {f"test/{name}": value for name, value in found.items()}


def finished(
    root: Path,
    target: str,
    beta: float,
    seed: int = 0,
    *,
    network: str | None = None,
    concepts: str = "all",
    options: dict[str, Any] | None = None,
    overrides: list[str] | None = None,
    performer: str = "f" * 8,
    metrics: dict[str, float] | None = None,
) -> Path:
    """Write a run's folder below ``root`` and return it; ``concepts`` is ``all``, ``random 5`` or ``named Bald``."""
    folder = root / str(len(list(root.glob("*"))))
    folder.mkdir(parents=True)
    kind, _, chosen = concepts.partition(" ")
    selection: dict[str, Any] = {"_target_": f"{PACKAGE}concepts.selection.{kind}_concepts", "_partial_": True}
    selection |= {"count": int(chosen), "seed": seed} if kind == "random" else {}
    selection |= {"include": chosen.split()} if kind == "named" else {}
    case1 = {"_target_": f"{PACKAGE}performers.interpretable_cnn.InterpretableCNN", "architecture": network}
    case2 = {"_target_": f"{PACKAGE}performers.vgg16_attributes.VGG16Attributes"}
    config: dict[str, Any] = {
        "performer": {**(case1 if network else case2), "target": target},
        "beta": beta,
        "seed": seed,
        "concepts": selection,
        "callbacks": {"prior_weight": {"beta": beta}},
        "data": {"_target_": f"{PACKAGE}data.celeba.CelebADataModule", "seed": seed, "root": str(folder)},
        "explainer": {"depth": 152},
        "paths": {"performers": "performers", "cache": "cache"},
        **(options or {}),
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "metrics.json").write_text(json.dumps(numbers() if metrics is None else metrics))
    (folder / "performer.json").write_text(
        json.dumps({"sha256": f"{performer}-{target}", "data_sha256": target, "test_objects": 50})
    )
    if overrides is not None:
        (folder / ".hydra").mkdir()
        (folder / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(overrides))
    return folder


def row(table: Any, *first: str) -> list[str]:
    """The only line of a table that begins with these cells, without them."""
    found = [line[len(first) :] for line in table.rows if tuple(line[: len(first)]) == first]
    assert len(found) == 1, (first, table.rows)
    return found[0]
