"""What every metric promises: batches, halves, copies and casts make no difference."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torchmetrics import Metric, MetricCollection

from semexplain.metrics.measure import describe
from tests.metrics.streams import METRICS, compute, dataset, feed

TRAIN, EVAL = dataset(200, seed=1), dataset()

each_metric = pytest.mark.parametrize("make", METRICS.values(), ids=METRICS)


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
def test_everything_is_a_float64_number(make: Callable[[], Metric]) -> None:
    for value in compute(filled(make())).values():
        assert value.dtype == torch.float64
        assert value.shape == ()
        assert value.isfinite()


@each_metric
@pytest.mark.parametrize("batch", [1, 7, 100])
def test_batches_make_no_difference(make: Callable[[], Metric], batch: int) -> None:
    assert_same(compute(filled(make(), batch)), compute(filled(make())))


@each_metric
def test_order_makes_no_difference(make: Callable[[], Metric]) -> None:
    order = torch.randperm(103, generator=torch.Generator().manual_seed(2))
    metric = feed(make(), TRAIN, [200], observe=True)
    feed(metric, {name: values[order] for name, values in EVAL.items()}, [103])
    assert_same(compute(metric), compute(filled(make())))


@each_metric
@pytest.mark.parametrize("cut", [0, 1, 52])
def test_two_halves_merge_to_the_whole(make: Callable[[], Metric], cut: int) -> None:
    halves = [make(), make()]
    for half, part in zip(halves, (slice(None, cut), slice(cut, None)), strict=True):
        for data, observe in ((TRAIN, True), (EVAL, False)):
            data = {name: values[part] for name, values in data.items()}
            feed(half, data, [len(data["score"])], observe=observe)
    halves[0].merge_state(halves[1])
    assert_same(compute(halves[0]), compute(filled(make())))


@each_metric
def test_an_empty_batch_makes_no_difference(make: Callable[[], Metric]) -> None:
    metric = filled(make())
    empty = {name: values[:0] for name, values in EVAL.items()}
    feed(metric, empty, [0])
    feed(metric, empty, [0], observe=True)
    assert_same(compute(metric), compute(filled(make())))


@each_metric
@pytest.mark.parametrize("duplicate", [copy.deepcopy, Metric.clone, lambda metric: pickle.loads(pickle.dumps(metric))])
def test_copies_go_on_from_where_they_were_taken(make: Callable[[], Metric], duplicate: Callable) -> None:
    metric = feed(feed(make(), TRAIN, [200], observe=True), EVAL, [50, 0, 53])
    continued = feed(duplicate(feed(make(), TRAIN, [200], observe=True)), EVAL, [103])
    assert_same(compute(continued), compute(metric))


@each_metric
def test_reset_forgets_everything(make: Callable[[], Metric]) -> None:
    metric = filled(make())
    metric.reset()
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert_empty(metric)
    assert_same(compute(filled(metric)), compute(filled(make())))


@each_metric
def test_a_metric_without_images_is_nan(make: Callable[[], Metric]) -> None:
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert_empty(make())
    empty = {name: values[:0] for name, values in EVAL.items()}
    assert_empty(feed(make(), empty, [0]))
    assert_empty(feed(feed(make(), TRAIN, [200], observe=True), empty, [0]))


def assert_empty(metric: Metric) -> None:
    for name, value in compute(metric).items():
        counts = describe(name, metric.reports).unit in ("images", "parts")
        assert value.isnan() or counts or name == "tau_train", name


@each_metric
def test_every_number_is_described_and_every_description_is_of_a_number(make: Callable[[], Metric]) -> None:
    metric = filled(make())
    assert len({measure.key for measure in metric.reports}) == len(metric.reports)
    if len(metric.reports) == 1:  # what it is called is a matter of the configuration
        assert compute(metric).keys() == {"value"}
        return
    for name in compute(metric):
        assert describe(name, metric.reports).meaning, name
    for measure in metric.reports:
        assert any(measure.named(name) for name in compute(metric)), measure.key


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
def test_casting_the_model_leaves_the_metric_exact(make: Callable[[], Metric], cast: Callable) -> None:
    owner = nn.ModuleDict({"layer": nn.Linear(1, 1), "metric": make()})
    cast(owner)
    filled(owner["metric"])
    cast(owner)
    assert_same(compute(owner["metric"]), compute(filled(make())))
    owner["metric"].reset()
    assert_same(compute(filled(owner["metric"])), compute(filled(make())))


@each_metric
def test_set_dtype_leaves_the_metric_exact(make: Callable[[], Metric]) -> None:
    metric = filled(make())
    metric.set_dtype(torch.bfloat16)
    assert_same(compute(metric), compute(filled(make())))


@each_metric
def test_inference_mode_leaves_the_metric_usable(make: Callable[[], Metric]) -> None:
    metric = make()
    with torch.inference_mode():
        compute(filled(metric))
        metric.reset()
        feed(metric, TRAIN, [200], observe=True)
        feed(metric, {name: values[:50] for name, values in EVAL.items()}, [50])
    feed(metric, {name: values[50:] for name, values in EVAL.items()}, [53])
    assert_same(compute(metric), compute(filled(make())))


@each_metric
def test_the_graph_of_a_training_step_is_not_kept(make: Callable[[], Metric]) -> None:
    metric = make()
    with torch.enable_grad():
        data = {name: value.clone().requires_grad_(value.is_floating_point()) for name, value in EVAL.items()}
        feed(metric, data, [103], observe=True)
        feed(metric, data, [103])
    assert not any(value.requires_grad for value in compute(metric).values())


@each_metric
def test_a_result_is_not_kept_after_more_was_seen(make: Callable[[], Metric]) -> None:
    metric = feed(filled(make()), dataset(20, seed=7), [20])
    before = compute(metric)
    feed(metric, dataset(50, seed=8), [50], observe=True)
    feed(metric, dataset(50, seed=9), [50])
    assert any(value != before[name] for name, value in compute(metric).items())


def test_observing_more_changes_a_result_already_computed() -> None:
    for make in METRICS.values():
        metric = filled(make())
        if hasattr(metric, "observe"):
            before = compute(metric)
            data = dataset(400, seed=8)
            feed(metric, data | {"prediction": data["prediction"] + 2}, [400], observe=True)
            assert any(value != before[name] for name, value in compute(metric).items())


def test_a_collection_hands_each_metric_its_fields() -> None:
    collection = MetricCollection({name: make() for name, make in METRICS.items()}, compute_groups=False)
    for metric in collection.values():
        feed(metric, TRAIN, [200], observe=True)
    collection.update(**EVAL)
    result = collection.compute()
    for metric, make in METRICS.items():
        for name, value in compute(filled(make())).items():
            name = metric if name == "value" else name
            torch.testing.assert_close(result[name], value, rtol=1e-12, atol=1e-13)
