"""One small data set, every metric there is, and a way to feed it to them, shared by the tests of all metrics."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from omegaconf import OmegaConf
from support import ROOT
from torch import Tensor
from torchmetrics import Metric

from semexplain import metrics
from semexplain.explanation import Explanation
from semexplain.metrics.base import PreciseMetric
from semexplain.system.config import instantiate

PARTS = ("eye", "leg", "background")
PART_FIELDS = ("part_effects", "part_contributions", "part_attributions")


def built(name: str) -> Metric:
    """The metric of a yaml, completed with parts if it asks to be completed."""
    node = OmegaConf.load(ROOT / f"conf/metrics/{name}.yaml")[name]
    metric = instantiate(node)
    return metric if isinstance(metric, Metric) else metric(parts=PARTS)


def classes() -> Iterator[type[PreciseMetric]]:
    """Every metric of the package that is fed what a run makes, in the order of its modules."""
    for module in pkgutil.iter_modules(metrics.__path__):
        for value in vars(importlib.import_module(f"semexplain.metrics.{module.name}")).values():
            if inspect.isclass(value) and issubclass(value, PreciseMetric) and value.__module__.endswith(module.name):
                yield value


def every_metric() -> dict[str, Callable[[], Metric]]:
    """Those with a yaml, by its name, and those that are built without one."""
    factories: dict[str, Callable[[], Metric]] = {
        path.stem: partial(built, path.stem) for path in sorted((ROOT / "conf/metrics").glob("*.yaml"))
    }
    with_yaml = {type(make()) for make in factories.values()}
    return factories | {one.__name__: one for one in classes() if one not in with_yaml and one is not PreciseMetric}


METRICS = every_metric()


def dataset(size: int = 103, n: int = 6, seed: int = 0) -> dict[str, Tensor]:
    """Random explanations that are partly right; some images without contributions, prior, truth or an effect."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    concepts, weights, prior, noise = randn(size, n), randn(size, n) + 1, randn(size, n) + 1, randn(size)
    concepts[size // 2] = 0
    prior[size // 3] = 0
    score, names = (concepts * weights).sum(1) + noise, tuple(f"concept {i}" for i in range(n))
    explanation = Explanation(score, concepts, weights, torch.tensor(0.3), names)
    data = {
        "score": explanation.score,
        "prediction": explanation.prediction,
        "contributions": explanation.contributions,
        "weights": weights,
        "concepts": concepts,
        "prior": prior,
        "label": explanation.score + randn(size) > 0,
        "object_id": torch.arange(size) // 2,
        **{name: randn(size, 3) + 1 for name in PART_FIELDS},
        "deletion": randn(size, 5),
        "insertion": randn(size, 5),
        "subset_contributions": randn(size, 8),
        "subset_drops": randn(size, 8),
        "score_with_all": explanation.score,
        "score_with_none": randn(size),
        "noisy_contributions": explanation.contributions[:, None] + randn(size, 2, n),
        "randomised_contributions": randn(size, n),
        "truth": explanation.contributions + randn(size, n),
    }
    data["subset_drops"][size // 4] = 0
    data["truth"][size // 5], data["truth"][size // 6 :, 2] = torch.nan, torch.nan
    return data


def feed(metric: Metric, data: dict[str, Tensor], sizes: Iterable[int], *, observe: bool = False) -> Metric:
    """Give the metric the fields that it names, in batches of these sizes."""
    receive = getattr(metric, "observe", None) if observe else metric.update
    if receive is None:
        return metric
    fields = inspect.signature(receive).parameters
    for batch in zip(*(data[name].split(list(sizes)) for name in fields), strict=True):
        receive(**dict(zip(fields, batch, strict=True)))
    return metric


def compute(metric: Metric) -> dict[str, Tensor]:
    """The metric's results, always by name."""
    result = metric.compute()
    return result if isinstance(result, dict) else {"value": result}
