"""Small networks that are awkward to cut, each for one reason."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHAPE = (3, 16, 16)


class ReusedReLU(nn.Module):
    """One ReLU serves three times."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, 2, 1), nn.Linear(6, 5)
        self.act, self.last = nn.ReLU(), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.two(self.act(self.one(x))))
        return self.last(self.act(self.three(x.mean((2, 3)))))


class InPlace(nn.Module):
    """Everything that can be done in place is, also to the image and to what layers returned."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm, self.act = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.two, self.last = nn.Conv2d(4, 6, 3, 2, 1), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x.sub_(0.5)
        x = self.act(self.norm(self.one(x)))
        x = self.two(x)
        x += 0.1
        x.relu_()
        return self.last(x.mean((2, 3))).mul_(3)


class ValueFlow(nn.Module):
    """Which way it goes depends on numbers that it has computed."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.other = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x).relu()
        x = self.two(x) if bool(x.mean() > 0.2) else self.other(x)
        if bool((x.mean((1, 2, 3)) > 0).any()):
            x = x * 2
        return self.last(x.mean((2, 3)))


class DictOutput(nn.Module):
    """It returns a dict, with an intermediate map beside the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = self.body(x).relu()
        return {"maps": maps, "logits": self.last(maps.mean((2, 3)))}


class TwoInputs(nn.Module):
    """It needs a second argument, which enters in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.mixed, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)

    def forward(self, x: Tensor, tone: Tensor, power: int) -> Tensor:
        x = self.mixed(self.body(x) * tone[:, :, None, None] ** power)
        return self.last(x.relu().mean((2, 3)))


class UNet(nn.Module):
    """Maps go past the bottleneck; it returns a map."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, 2, 1)
        self.up, self.last = nn.ConvTranspose2d(8, 4, 2, 2), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down(x).relu()
        return self.last(torch.cat([skip, self.up(self.deep(skip).relu())], 1))


class ChannelsLast(nn.Module):
    """Its maps have their channels last, as Swin's."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.mix, self.norm, self.last = (
            nn.Conv2d(3, 6, 4, 4),
            nn.Linear(6, 6),
            nn.LayerNorm(6),
            nn.Linear(6, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(self.body(x).permute(0, 2, 3, 1)).relu()
        return self.last(self.norm(x).mean((1, 2)))


class ClassToken(nn.Module):
    """A transformer whose answer is at its class token; PyTorch's own layers, with their fast path."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, 8, 4, 4), nn.Parameter(torch.randn(1, 1, 8))
        self.place = nn.Parameter(torch.randn(1, 17, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.blocks, self.last = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.place
        return self.last(self.blocks(x)[:, 0])


class SequenceFirst(nn.Module):
    """A transformer in whose middle the images are the second dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.block = nn.Conv2d(3, 8, 4, 4), nn.TransformerEncoderLayer(8, 2, 16)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.block(self.patches(x).flatten(2).permute(2, 0, 1)).mean(0))


class NoBias(nn.Module):
    """No layer has a bias, and there is one output only."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3, bias=False), nn.Linear(4, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x).relu().mean((2, 3)))[:, 0]


class Versioned(NoBias):
    """It refuses a state dict that does not say of which version it is, as MNASNet does."""

    _version = 2

    def _load_from_state_dict(self, state: dict, prefix: str, local_metadata: dict, *more: object) -> None:
        if local_metadata.get("version") != 2:
            raise ValueError("version should be set to 2")
        super()._load_from_state_dict(state, prefix, local_metadata, *more)


class TrainModeNorm(nn.Module):
    """It comes in training mode: a forward pass would move the statistics of its norm."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm, self.drop, self.two = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.drop(self.norm(self.one(x)).relu().mean((2, 3))))


class Fork(nn.Module):
    """A layer that returns two maps."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 2, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.one(x), self.two(x)


class TupleOutput(nn.Module):
    """Its layer and it itself return tuples, the first with attention maps that nobody uses."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.attention = nn.Conv2d(3, 8, 4, 4), nn.MultiheadAttention(8, 2, batch_first=True)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        mixed, _ = self.attention(tokens, tokens, tokens)
        return self.last(mixed.mean(1)), None


class Dense(nn.Module):
    """Every layer sees all maps so far, as in a DenseNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.block = nn.ModuleDict({"a": nn.Conv2d(4, 4, 3, padding=1), "b": nn.Conv2d(8, 4, 3, padding=1)})
        self.join, self.last = nn.Conv2d(12, 6, 1), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.stem(x)]
        for layer in self.block.values():
            maps.append(layer(torch.cat(maps, 1).relu()))
        return self.last(self.join(torch.cat(maps, 1)).relu().mean((2, 3)))


class Block(nn.Module):
    """A residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(self.conv1(x).relu())
        out += x
        return F.relu(out, inplace=True)


class Residual(nn.Module):
    """What a layer inside a block computes is added to what went past it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks, self.last = nn.Conv2d(3, 4, 3, 2), nn.Sequential(Block(), Block()), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.blocks(self.stem(x)).mean((2, 3)))


class SigmoidOutput(nn.Module):
    """Its output is a probability; the logit is a module."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.logit, self.sigmoid = nn.Conv2d(3, 4, 3), nn.Linear(4, 2), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return self.sigmoid(self.logit(self.body(x).relu().mean((2, 3))))


class BatchDependent(nn.Module):
    """An image's outputs depend on the others of its batch."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.body(x)).relu().mean((2, 3)))


class Counting(nn.Module):
    """It counts its images, and answers accordingly."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return self.last(self.body(x).relu().mean((2, 3)))


class Inception(nn.Module):
    """Branches side by side are joined."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mixed, self.last = nn.Conv2d(3, 4, 3), Branches(), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.mixed(self.stem(x).relu()).relu().mean((2, 3)))


class Branches(nn.Module):
    """Narrow, wide and pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow, self.wide, self.pool = nn.Conv2d(4, 3, 1), nn.Conv2d(4, 2, 3, padding=1), nn.AvgPool2d(3, 1, 1)
        self.after = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.narrow(x), self.wide(x), self.after(self.pool(x))], 1)


class HighResolution(nn.Module):
    """Two branches of different resolution go on side by side and exchange what they have, as in HRNet."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, 2, 1)
        self.down, self.up = nn.Conv2d(4, 6, 3, 2, 1), nn.ConvTranspose2d(6, 4, 2, 2)
        self.last = nn.Linear(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        coarse = self.coarse(fine.relu())
        fine, coarse = fine + self.up(coarse.relu()), coarse + self.down(fine.relu())
        return self.last(torch.cat([fine.relu().mean((2, 3)), coarse.relu().mean((2, 3))], 1))


class AddedLater(nn.Module):
    """The output of a layer is added to its own input, two layers later."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.join, self.last = nn.Conv2d(4, 4, 1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        before = self.stem(x)
        x = self.two(self.one(before).relu())
        x += before
        return self.last(self.join(x.sigmoid()).mean((2, 3)))


class Windows(nn.Module):
    """Inside, windows of all images are in one batch, as in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.inner, self.outer, self.last = (
            nn.Conv2d(3, 4, 4, 4),
            nn.Linear(4, 4),
            nn.Conv2d(4, 4, 1),
            nn.Linear(4, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        maps = self.body(x)
        windows = maps.unfold(2, 2, 2).unfold(3, 2, 2).permute(0, 2, 3, 4, 5, 1).reshape(-1, 4, 4)
        mixed = self.inner(windows).view(len(x), 2, 2, 2, 2, 4).permute(0, 5, 1, 3, 2, 4).reshape(len(x), 4, 4, 4)
        return self.last(self.outer(mixed).relu().mean((2, 3)))


def _mean_of_map(returned: Tensor) -> Tensor:
    return returned[:, 1].mean((1, 2))


@dataclass(frozen=True)
class Case:
    """A network, a layer that separates it, and one that does not."""

    make: Callable[[], nn.Module]
    layer: str | list[str]
    bad: str | None = None
    output: Any = 1
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.make.__name__

    def network(self) -> nn.Module:
        torch.manual_seed(3)
        return self.make()


CASES = [
    Case(ReusedReLU, "act:2"),
    Case(ReusedReLU, "two"),
    Case(InPlace, "norm"),
    Case(InPlace, "act"),
    Case(InPlace, "two"),
    Case(ValueFlow, "one"),
    Case(DictOutput, "body"),
    Case(TwoInputs, "mixed", options={"inputs": {"tone": torch.tensor([[1.0, 2.0, 3.0, 4.0]]), "power": 2}}),
    Case(TwoInputs, "body", options={"inputs": {"tone": torch.tensor([[1.0, 2.0, 3.0, 4.0]]), "power": 2}}),
    Case(UNet, "down", "deep", _mean_of_map),
    Case(UNet, ["down", "deep"], "up", _mean_of_map),
    Case(ChannelsLast, "mix"),
    Case(ChannelsLast, "body"),
    Case(ClassToken, "blocks.layers.1"),
    Case(SequenceFirst, "block"),
    Case(NoBias, "one", output=None),
    Case(Versioned, "one", output=None),
    Case(TrainModeNorm, "norm"),
    Case(TupleOutput, "attention"),
    Case(Dense, "join", "block.b"),
    Case(Dense, ["stem", "block.a", "block.b"], "block.a"),
    Case(Residual, "blocks.0", "blocks.1.conv1"),
    Case(Inception, "mixed", "mixed.wide"),
    Case(HighResolution, ["coarse", "fine"], "coarse"),
    Case(AddedLater, "join", "one"),
    Case(AddedLater, ["one", "stem"], "two"),
    Case(SigmoidOutput, "body"),
    Case(SigmoidOutput, "body", output=["logit", 1]),
    Case(Windows, "body"),
    Case(Windows, "outer"),
]
