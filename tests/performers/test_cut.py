"""Replays against whole forward passes with hooks, written here a second time."""

from collections.abc import Callable

import awkward
import pytest
import torch
from awkward import CASES, SHAPE, Case
from torch import Tensor, nn

from semexplain.performers.answer import answer_for
from semexplain.performers.base import state_digest
from semexplain.performers.cut import Cut
from semexplain.performers.cut.swap import require_separation, swap_fault
from semexplain.performers.cut.whole import Whole
from semexplain.system.trouble import Trouble


def pictures(count: int = 4, seed: int = 0) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def cut_of(case: Case) -> tuple[Cut, Callable[[object], Tensor]]:
    model = case.network().eval().requires_grad_(False)
    end, output = (case.output[0], case.output[1]) if isinstance(case.output, list) else (None, case.output)
    whole = Whole(model, case.options.get("inputs"), end)
    with torch.no_grad():
        answer = answer_for(whole(pictures()), output, None)
    layers = [case.layer] if isinstance(case.layer, str) else case.layer
    return Cut(whole, layers, pictures()), lambda returned: answer(returned)[:, answer.names.index(answer.target)]


def hooked(case: Case, image: Tensor, given: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
    """Score of a plain forward pass with hooks on the layers, and what the layers said, or were made to say."""
    model = case.network().eval().requires_grad_(False)
    layers = [case.layer] if isinstance(case.layer, str) else case.layer
    kept: list[Tensor] = [torch.empty(0)] * len(layers)
    handles, ends = [], []

    def hook_for(at: int, number: int) -> Callable[..., object]:
        calls = []

        def hook(module: nn.Module, arguments: object, output: object) -> object:
            calls.append(1)
            if len(calls) != number:
                return None
            first = output[0] if isinstance(output, tuple) else output
            if given is None:
                kept[at] = first.clone()
                return None
            value = given[at].clone()
            return (value, *output[1:]) if isinstance(output, tuple) else value

        return hook

    for at, layer in enumerate(layers):
        name, _, number = layer.partition(":")
        handles.append(model.get_submodule(name).register_forward_hook(hook_for(at, int(number or 1))))
    if isinstance(case.output, list):
        handles.append(model.get_submodule(case.output[0]).register_forward_hook(lambda *a: ends.append(a[2])))
    inputs = {
        name: value.expand(len(image), -1) if isinstance(value, Tensor) else value
        for name, value in case.options.get("inputs", {}).items()
    }
    returned = model(image.clone(), **inputs)
    if callable(case.output):
        return case.output(returned), kept
    if ends:
        return ends[0][:, case.output[1]], kept
    returned = returned["logits"] if isinstance(returned, dict) else returned
    returned = returned[0] if isinstance(returned, tuple) else returned
    return (returned if case.output is None else returned[:, case.output]), kept


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case}-{case.layer}")
@pytest.mark.parametrize("count", [1, 3])
def test_scores_and_gradients_of_a_replay_are_those_of_the_whole_network(case: Case, count: int):
    cut, score = cut_of(case)
    image = pictures(count, seed=1)
    with torch.no_grad():
        expected, values = hooked(case, image, None)
        x = cut.read(image.clone())
    assert torch.equal(score(cut.replay(x)), expected)
    leaves = [value.clone().requires_grad_() for value in values]
    (again, _), x = hooked(case, image, leaves), x.requires_grad_()
    slopes = torch.autograd.grad(again.sum(), leaves)
    (found,) = torch.autograd.grad(score(cut.replay(x)).sum(), x)
    along = [place.along for place in cut.places.values()]
    slopes = [slope.movedim(at, 0) for slope, at in zip(slopes, along, strict=True)]
    joined = slopes[0] if len(slopes) == 1 else torch.cat([slope.flatten(1) for slope in slopes], 1)
    assert torch.equal(found, joined)
    assert bool(found.any())


@pytest.mark.parametrize("case", [case for case in CASES if case.bad], ids=str)
def test_a_layer_that_others_go_past_is_refused(case: Case):
    model = case.network().eval().requires_grad_(False)
    whole = Whole(model, case.options.get("inputs"))
    with torch.no_grad():
        answer = answer_for(whole(pictures()), case.output, None)
    cut = Cut(whole, [case.bad], pictures())
    with pytest.raises(Trouble, match=rf"{case.bad} does not separate the network: .* past it"):
        require_separation(cut, pictures(seed=1), answer)


def test_the_nearest_module_around_a_bad_layer_is_named():
    model = awkward.Residual().eval().requires_grad_(False)
    whole = Whole(model)
    with pytest.raises(Trouble, match="Choose 'blocks.1', the nearest module around it"):
        require_separation(Cut(whole, ["blocks.1.conv1"], pictures()), pictures(seed=1), lambda returned: returned)


def test_what_lies_below_is_not_computed():
    model, runs = awkward.Residual().eval().requires_grad_(False), []
    cut = Cut(Whole(model), ["blocks.0"], pictures())
    with torch.no_grad():
        x = cut.read(pictures())
        for module in (model.stem, model.blocks[0].conv1, model.blocks[1].conv1):
            module.register_forward_pre_hook(lambda module, _: runs.append(module))
        cut.read(pictures())
        assert model.blocks[1].conv1 not in runs
        before = len(runs)
        cut.replay(x)
    assert model.blocks[0].conv1 not in runs[before:]
    assert model.blocks[1].conv1 in runs[before:]


def test_a_layer_that_is_called_twice_needs_a_number():
    whole = Whole(awkward.ReusedReLU().eval().requires_grad_(False))
    with pytest.raises(Trouble, match="'act' is called 3 times in a forward pass: choose one of act:1, act:2, act:3"):
        Cut(whole, ["act"], pictures())
    with pytest.raises(Trouble, match="act:4: 'act' is called 3 times only"):
        Cut(whole, ["act:4"], pictures())
    assert Cut(whole, ["act:2"], pictures()).names == ("act:2",)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        ("bloks.0", "no module 'bloks.0' in Residual .did you mean 'blocks.0'"),
        ("blocks.0:x", "expected the name of a module"),
        ("", "expected the name of a module"),
    ],
)
def test_names_of_layers_that_are_none(layer: str, text: str):
    with pytest.raises(Trouble, match=text):
        Cut(Whole(awkward.Residual().eval()), [layer], pictures())


def test_layers_without_a_row_for_each_image_or_inside_one_another_are_refused():
    with pytest.raises(Trouble, match=r"inner: its output .* has no row for each image"):
        Cut(Whole(awkward.Windows().eval()), ["inner"], pictures())
    with pytest.raises(Trouble, match="lie inside one another"):
        Cut(Whole(awkward.Residual().eval()), ["blocks", "blocks.1"], pictures())
    model = awkward.ValueFlow().eval()
    nn.init.ones_(model.one.bias)
    with pytest.raises(Trouble, match="'other' is not called"):
        Cut(Whole(model), ["other"], pictures())


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, lambda m: torch.compile(nn.DataParallel(m))])
def test_wrappers_leave_no_trace(wrap: Callable[[nn.Module], nn.Module]):
    model = awkward.Residual().eval().requires_grad_(False)
    wrapped, x = wrap(model), pictures()
    for name in ("blocks.0", "module.blocks.0", "_orig_mod.blocks.0", "_orig_mod.module.blocks.0"):
        cut = Cut(Whole(wrapped), [name], x)
        assert torch.equal(cut.replay(cut.read(x)), model(x))
        assert cut.layers[0].name == "blocks.0"


def test_compiled_parts_run_uncompiled():
    """Hooks that come after the first compiled call would not be called."""
    model = awkward.Residual().eval().requires_grad_(False)
    x = pictures()
    expected = model(x)
    model.blocks = torch.compile(model.blocks, backend="eager")
    model(x)
    cut = Cut(Whole(model), ["blocks.0"], x)
    assert torch.equal(cut.replay(cut.read(x)), expected)
    model.compile(backend="eager")
    assert torch.equal(cut.replay(cut.read(x)), expected)


def test_a_shared_module_has_two_names():
    model = awkward.Residual().eval().requires_grad_(False)
    model.also = model.stem
    assert Cut(Whole(model), ["also"], pictures()).layers[0].name == "stem"


def test_nothing_is_left_behind_also_by_errors():
    model = awkward.Residual().eval().requires_grad_(False)
    cut = Cut(Whole(model), ["blocks.0"], pictures())
    digest, x = state_digest(model), cut.read(pictures())

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    handle = model.last.register_forward_pre_hook(broken)
    with pytest.raises(RuntimeError, match="broken"):
        cut.replay(x)
    handle.remove()
    with pytest.raises(RuntimeError):
        cut.replay(x[:, :2])
    assert state_digest(model) == digest
    for module in model.modules():
        assert "forward" not in vars(module)
        assert not module._forward_hooks


def test_a_forward_of_the_instance_is_kept():
    """Libraries replace it, too, to move weights or to count."""
    model, calls = awkward.Residual().eval().requires_grad_(False), []
    own = model.stem.forward

    def forward(x: Tensor) -> Tensor:
        calls.append(1)
        return own(x)

    model.stem.forward = forward
    cut = Cut(Whole(model), ["blocks.0"], pictures())
    cut.read(pictures())
    assert model.stem.forward is forward
    assert calls


def test_hooks_of_the_user_count_once():
    model = awkward.Residual().eval().requires_grad_(False)
    model.blocks[0].register_forward_hook(lambda module, arguments, output: output * 2)
    x = pictures()
    cut = Cut(Whole(model), ["blocks.0"], x)
    assert torch.equal(cut.replay(cut.read(x)), model(x))


def test_values_that_inference_mode_made_can_be_replayed_with_gradients():
    model = awkward.InPlace().eval().requires_grad_(False)
    cut = Cut(Whole(model), ["act"], pictures())
    with torch.inference_mode():
        x = cut.read(pictures())
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cut.replay(leaf).sum(), leaf)
    assert bool(gradient.any())


class Faint(nn.Module):
    """What goes past its layer is too little to change an output's last digit."""

    def __init__(self, past: float) -> None:
        super().__init__()
        self.body, self.last, self.past = nn.Conv2d(3, 4, 3), nn.Linear(4, 2), past

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x).mean((2, 3))) + 1 + self.past * x.mean((1, 2, 3))[:, None]


@pytest.mark.parametrize("past", [0.0, 1e-12])
def test_what_goes_past_a_layer_is_found_however_little_it_is(past: float):
    cut = Cut(Whole(Faint(past).eval().requires_grad_(False)), ["body"], pictures())
    found = swap_fault(cut, pictures(seed=1), lambda returned: returned)
    assert torch.equal(cut.past(pictures(seed=1)), cut.whole(pictures(seed=1)))
    expected = None if past == 0 else f"their gradient there is {past * 3 / pictures()[0].numel() * 1:.3g}"
    assert (found is None) if expected is None else expected in str(found)


def test_random_constant_and_unstable_networks_are_refused():
    def fault(model: nn.Module, layer: str) -> str | None:
        cut = Cut(Whole(model.requires_grad_(False)), [layer], pictures())
        return swap_fault(cut, pictures(seed=1), lambda returned: returned)

    model = awkward.TrainModeNorm().eval()
    model.drop.train()
    assert "something in it is random" in str(fault(model, "norm"))
    model = awkward.TrainModeNorm().eval()
    nn.init.zeros_(model.two.weight)
    assert "the same for all images" in str(fault(model, "norm"))
    nn.init.constant_(model.two.weight, torch.nan)
    assert "not finite" in str(fault(model, "norm"))


def test_a_scripted_network_and_double_precision_are_refused():
    with pytest.raises(Trouble, match="model.float"):
        Whole(awkward.Residual().double())
    with pytest.warns(FutureWarning):
        scripted = torch.jit.trace(awkward.NoBias().eval(), pictures())
    with pytest.raises(Trouble, match="a scripted network cannot be cut"):
        Whole(scripted)


class Quantised(nn.Module):
    """Its middle is in integers."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.small, self.last = nn.Conv2d(3, 4, 3), Small(), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.small(self.body(x)).dequantize().mean((2, 3)))


class Small(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.quantize_per_tensor(x, 0.01, 0, torch.qint8)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_a_layer_in_integers_is_refused():
    with pytest.raises(Trouble, match="small: its output is quantised: choose a layer whose output is not"):
        Cut(Whole(Quantised().eval()), ["small"], pictures())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype):
    model = awkward.Residual().eval().requires_grad_(False).to(dtype)
    x = pictures()
    cut = Cut(Whole(model), ["blocks.0"], x)
    value = cut.read(x)
    assert value.dtype == torch.float32
    assert torch.equal(cut.replay(value), model(x.to(dtype)))


def test_memory_format_does_not_change_bits():
    model = awkward.Residual().eval().requires_grad_(False).to(memory_format=torch.channels_last)
    x = pictures().to(memory_format=torch.channels_last)
    cut = Cut(Whole(model), ["blocks.0"], x)
    assert torch.equal(cut.replay(cut.read(x).contiguous()), model(x))


def test_one_layer_from_another():
    model = awkward.Residual().eval().requires_grad_(False)
    whole, x = Whole(model), pictures()
    lower, upper = Cut(whole, ["stem"], x), Cut(whole, ["blocks.1"], x)
    assert torch.equal(lower.replay_to(upper, lower.read(x)), upper.read(x))
