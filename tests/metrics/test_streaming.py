"""What every metric promises: batches, halves, copies and casts make no difference."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torchmetrics import Metric, MetricCollection

from tests.metrics.streams import METRICS, compute, dataset, feed

TRAIN, EVAL = dataset(200, seed=1), dataset()

each_metric = pytest.mark.parametrize("metric_class", METRICS, ids=lambda metric_class: metric_class.__name__)


def filled(metric: Metric, batch: int = 103) -> Metric:
    for data, observe in ((TRAIN, True), (EVAL, False)):
        size = len(data["score"])
        feed(metric, data, [*[batch] * (size // batch), *([size % batch] if size % batch else [])], observe=observe)
    return metric


def assert_same(result: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert result.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(result[name], value, rtol=1e-12, atol=1e-13, msg=lambda text, name=name: name + text)


@each_metric
def test_everything_is_a_float64_number(metric_class: type[Metric]) -> None:
    for value in compute(filled(metric_class())).values():
        assert value.dtype == torch.float64
        assert value.shape == ()
        assert value.isfinite()


@each_metric
@pytest.mark.parametrize("batch", [1, 7, 100])
def test_batches_make_no_difference(metric_class: type[Metric], batch: int) -> None:
    assert_same(compute(filled(metric_class(), batch)), compute(filled(metric_class())))


@each_metric
def test_order_makes_no_difference(metric_class: type[Metric]) -> None:
    order = torch.randperm(103, generator=torch.Generator().manual_seed(2))
    metric = feed(metric_class(), TRAIN, [200], observe=True)
    feed(metric, {name: values[order] for name, values in EVAL.items()}, [103])
    assert_same(compute(metric), compute(filled(metric_class())))


@each_metric
@pytest.mark.parametrize("cut", [0, 1, 52])
def test_two_halves_merge_to_the_whole(metric_class: type[Metric], cut: int) -> None:
    halves = [metric_class(), metric_class()]
    for half, part in zip(halves, (slice(None, cut), slice(cut, None)), strict=True):
        for data, observe in ((TRAIN, True), (EVAL, False)):
            data = {name: values[part] for name, values in data.items()}
            feed(half, data, [len(data["score"])], observe=observe)
    halves[0].merge_state(halves[1])
    assert_same(compute(halves[0]), compute(filled(metric_class())))


@each_metric
def test_an_empty_batch_makes_no_difference(metric_class: type[Metric]) -> None:
    metric = filled(metric_class())
    empty = {name: values[:0] for name, values in EVAL.items()}
    feed(metric, empty, [0])
    feed(metric, empty, [0], observe=True)
    assert_same(compute(metric), compute(filled(metric_class())))


@each_metric
@pytest.mark.parametrize("duplicate", [copy.deepcopy, Metric.clone, lambda metric: pickle.loads(pickle.dumps(metric))])
def test_copies_go_on_from_where_they_were_taken(metric_class: type[Metric], duplicate: Callable) -> None:
    metric = feed(feed(metric_class(), TRAIN, [200], observe=True), EVAL, [50, 0, 53])
    continued = feed(duplicate(feed(metric_class(), TRAIN, [200], observe=True)), EVAL, [103])
    assert_same(compute(continued), compute(metric))


@each_metric
def test_reset_forgets_everything(metric_class: type[Metric]) -> None:
    metric = filled(metric_class())
    metric.reset()
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert_empty(metric)
    assert_same(compute(filled(metric)), compute(filled(metric_class())))


@each_metric
def test_a_metric_without_images_is_nan(metric_class: type[Metric]) -> None:
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert_empty(metric_class())
    empty = {name: values[:0] for name, values in EVAL.items()}
    assert_empty(feed(metric_class(), empty, [0]))
    assert_empty(feed(feed(metric_class(), TRAIN, [200], observe=True), empty, [0]))


def assert_empty(metric: Metric) -> None:
    for name, value in compute(metric).items():
        counts = {
            "contribution_entropy_skipped",
            "faithfulness_correlation_skipped",
            "part_error_images",
            "part_error_skipped",
            "part_error_parts",
        }
        assert value.isnan() or name in counts | {"tau_train"}, name


@each_metric
@pytest.mark.parametrize(
    "cast",
    [
        lambda module: module.to(torch.bfloat16),
        lambda module: module.half(),
        lambda module: module.float(),
        lambda module: module.type(torch.float16),
    ],
    ids=["bfloat16", "half", "float", "type"],
)
def test_casting_the_model_leaves_the_metric_exact(metric_class: type[Metric], cast: Callable) -> None:
    owner = nn.ModuleDict({"layer": nn.Linear(1, 1), "metric": metric_class()})
    cast(owner)
    filled(owner["metric"])
    cast(owner)
    assert_same(compute(owner["metric"]), compute(filled(metric_class())))
    owner["metric"].reset()
    assert_same(compute(filled(owner["metric"])), compute(filled(metric_class())))


@each_metric
def test_set_dtype_leaves_the_metric_exact(metric_class: type[Metric]) -> None:
    metric = filled(metric_class())
    metric.set_dtype(torch.bfloat16)
    assert_same(compute(metric), compute(filled(metric_class())))


@each_metric
def test_inference_mode_leaves_the_metric_usable(metric_class: type[Metric]) -> None:
    metric = metric_class()
    with torch.inference_mode():
        compute(filled(metric))
        metric.reset()
        feed(metric, TRAIN, [200], observe=True)
        feed(metric, {name: values[:50] for name, values in EVAL.items()}, [50])
    feed(metric, {name: values[50:] for name, values in EVAL.items()}, [53])
    assert_same(compute(metric), compute(filled(metric_class())))


@each_metric
def test_the_graph_of_a_training_step_is_not_kept(metric_class: type[Metric]) -> None:
    metric = metric_class()
    with torch.enable_grad():
        data = {name: value.clone().requires_grad_(value.is_floating_point()) for name, value in EVAL.items()}
        feed(metric, data, [103], observe=True)
        feed(metric, data, [103])
    assert not any(value.requires_grad for value in compute(metric).values())


@each_metric
def test_a_result_is_not_kept_after_more_was_seen(metric_class: type[Metric]) -> None:
    metric = feed(filled(metric_class()), dataset(20, seed=7), [20])
    before = compute(metric)
    feed(metric, dataset(50, seed=8), [50], observe=True)
    feed(metric, dataset(50, seed=9), [50])
    assert any(value != before[name] for name, value in compute(metric).items())


def test_observing_more_changes_a_result_already_computed() -> None:
    for metric_class in METRICS:
        if hasattr(metric_class, "observe"):
            metric = filled(metric_class())
            before = compute(metric)
            data = dataset(400, seed=8)
            feed(metric, data | {"prediction": data["prediction"] + 2}, [400], observe=True)
            assert any(value != before[name] for name, value in compute(metric).items())


def test_a_collection_hands_each_metric_its_fields() -> None:
    collection = MetricCollection([metric_class() for metric_class in METRICS], compute_groups=False)
    for metric in collection.values():
        feed(metric, TRAIN, [200], observe=True)
    collection.update(**EVAL)
    result = collection.compute()
    for metric_class in METRICS:
        for name, value in compute(filled(metric_class())).items():
            name = metric_class.__name__ if name == "value" else name
            torch.testing.assert_close(result[name], value, rtol=1e-12, atol=1e-13)
