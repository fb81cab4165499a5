"""The face-attribute performer of Experiment 2: VGG-16 with one output per CelebA attribute (Sec. 4.2)."""

import warnings
from pathlib import Path
from typing import Annotated, Literal, cast

import torch
from annotated_types import Ge, Interval, MultipleOf
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import get_model_weights
from torchvision.models.vgg import make_layers

from semexplain.attributes import ATTRIBUTES, FaceAttribute
from semexplain.performers.base import Performer
from semexplain.performers.preprocessing import RECIPES, Preprocessing

# Channels of VGG-16's thirteen convolutions in units of `width`; "M" is a max-pool. The last pool belongs to the head.
PLAN = [1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8]

# torchvision's names of weights whose input is its usual one; IMAGENET1K_FEATURES expects another
DOWNLOADS = ("IMAGENET1K_V1",)


class VGG16Attributes(Performer):
    """40 attribute logits, one of which is the score and the other 39 the concepts.

    The explainer sees the output of conv5_3 after its ReLU, ``(B, 8 width, S / 16, S / 16)``; ``x`` is the output of
    the first fully-connected layer, ``(B, hidden)``, from which all 40 logits are computed, so that the target and
    the concepts share it.

    Args:
        target: The attribute to explain.
        image_size: ``S``, the side of the square input in pixels.
        weights: Initial weights of the convolutions: ``IMAGENET1K_V1`` (torchvision's, downloaded), the path of a
            local ``.safetensors`` or ``.pth`` state dict (of VGG-16 or of its ``features``), or ``None`` for random.
        preprocessing: What the weights expect; ``auto`` takes it from the weights.
        x_stage: Read ``x`` before or after the ReLU of the first fully-connected layer.
        width: Channels of the first convolution; 64 is VGG-16, fewer make a small network of the same shape.
        hidden: Units of the two hidden fully-connected layers.
        dropout: Probability of dropping a hidden unit while the performer is trained.
        checkpoint: A trained performer (``performer.safetensors``) to load in place of ``weights``.

    Raises:
        ValueError: If the weights do not fit, or do not say which preprocessing they need.
        FileNotFoundError: If a weights or checkpoint file is not there.
    """

    explanation_options = frozenset({"target", "x_stage", "checkpoint"})

    def __init__(
        self,
        target: FaceAttribute = "Attractive",
        image_size: Annotated[int, Ge(32)] = 224,
        weights: str | None = "IMAGENET1K_V1",
        preprocessing: Literal["auto", "torchvision", "caffe_rgb255"] = "auto",
        x_stage: Literal["pre_relu", "post_relu"] = "pre_relu",
        width: Annotated[int, Ge(2), MultipleOf(2)] = 64,
        hidden: Annotated[int, Ge(1)] = 4096,
        dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.5,
        checkpoint: str | None = None,
    ) -> None:
        super().__init__()
        self.x_stage = x_stage
        self.target_name = target
        self.concept_names = self.names_of_concepts(target)
        self.target_index = ATTRIBUTES.index(target)
        self.concept_indices = [ATTRIBUTES.index(name) for name in self.concept_names]
        self.channels = 8 * width
        self.map_size = image_size // 16

        self.trunk = make_layers([c * width if isinstance(c, int) else c for c in PLAN], batch_norm=False)
        for layer in self.trunk:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # in place, the ReLU would overwrite a feature that someone else still holds
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                nn.init.constant_(cast(Tensor, layer.bias), 0.0)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(self.channels * (self.map_size // 2) ** 2, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, len(ATTRIBUTES))
        self.dropout = nn.Dropout(dropout)
        if checkpoint is not None:
            self.preprocess = Preprocessing("torchvision")  # its buffers are loaded with the rest
            load_performer(self, Path(checkpoint))
        elif weights is None:
            warnings.warn(
                "The performer's convolutions start from random weights: name pretrained ones by `performer.weights` "
                "(a torchvision name or a file) unless the data are synthetic.",
                stacklevel=2,
            )
            self.preprocess = Preprocessing("torchvision" if preprocessing == "auto" else preprocessing)
        else:
            self.preprocess = Preprocessing(self._load_trunk(weights, preprocessing))

    @staticmethod
    def names_of_concepts(target: str) -> tuple[str, ...]:
        """The concepts that explain ``target``: every other attribute, in CelebA's order.

        Example:
            >>> VGG16Attributes.names_of_concepts("5_o_Clock_Shadow")[:2]
            ('Arched_Eyebrows', 'Attractive')
        """
        return tuple(name for name in ATTRIBUTES if name != target)

    @property
    def variant(self) -> str:
        """Target and stage of x."""
        return f"{self.target_name} {self.x_stage}"

    def encode(self, image: Tensor) -> Tensor:
        """Feature map of conv5_3 after its ReLU, ``(B, 8 width, S / 16, S / 16)``."""
        return self.trunk(self.preprocess(image))

    def feature(self, feature_map: Tensor) -> Tensor:
        """``x``: the first fully-connected layer's output ``(B, hidden)``, before or after its ReLU."""
        x = self.fc1(self.pool(feature_map).flatten(1))
        return x if self.x_stage == "pre_relu" else x.relu()

    def head(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """The target's logit ``(B,)`` and the other attributes' logits ``(B, 39)``."""
        logits = self._logits(feature)
        return logits[:, self.target_index], logits[:, self.concept_indices]

    def logits(self, feature_map: Tensor) -> Tensor:
        """All attribute logits ``(B, 40)`` in the order of CelebA's attribute file."""
        return self._logits(self.feature(feature_map))

    def head_modules(self) -> list[nn.Module]:
        """The layers above the feature map; the others are the trunk."""
        return [self.fc1, self.fc2, self.fc3]

    def trunk_modules(self) -> list[nn.Module]:
        """The layers, with their preprocessing, that make the feature map."""
        return [self.preprocess, self.trunk]

    def _logits(self, feature: Tensor) -> Tensor:
        # A second ReLU would keep the values of a post-ReLU x, but not its gradient where x is 0.
        hidden = feature.relu() if self.x_stage == "pre_relu" else feature
        return self.fc3(self.dropout(self.fc2(self.dropout(hidden)).relu()))

    def _load_trunk(self, weights: str, preprocessing: str) -> str:
        """Load the convolutions; return the name of the preprocessing they were trained with."""
        if weights in DOWNLOADS:
            state = _download(weights)
            recorded: str | None = "torchvision"
        elif Path(weights).is_file():
            state, recorded = read_weights(Path(weights))
        else:
            raise FileNotFoundError(
                f"`performer.weights` must be null, one of {', '.join(DOWNLOADS)} (downloaded), or the path of a local "
                f"state dict; there is no file {Path(weights).absolute()}."
            )
        state = {
            key.removeprefix("features."): value.float() for key, value in state.items() if "classifier" not in key
        }
        expected = {key: tuple(value.shape) for key, value in self.trunk.state_dict().items()}
        given = {key: tuple(value.shape) for key, value in state.items()}
        if given != expected:
            differing = sorted(expected.items() ^ given.items())
            raise ValueError(
                f"The weights {weights} are not those of a VGG-16 of width {self.channels // 8}: expected the thirteen "
                f"convolutions 0 to 28 of torchvision's `vgg16().features`; first differences: {differing[:4]}."
            )
        self.trunk.load_state_dict(state)
        if preprocessing == "auto" and recorded is None:
            raise ValueError(
                f"The weights {weights} do not say which input they expect (metadata `input`). Say it: "
                f"`performer.preprocessing={'|'.join(RECIPES)}`."
            )
        if preprocessing not in ("auto", recorded or preprocessing):
            raise ValueError(
                f"The weights {weights} expect `{recorded}` input, but `performer.preprocessing` is `{preprocessing}`."
            )
        return recorded if recorded is not None else preprocessing


def _download(weights: str) -> dict[str, Tensor]:
    try:
        return dict(get_model_weights("vgg16")[weights].get_state_dict(progress=True, check_hash=True))
    except OSError as error:
        raise OSError(
            f"The weights {weights} could not be downloaded ({error}). Give a local state dict of VGG-16 by "
            "`performer.weights=<file>`, or `performer.weights=null` for random ones (with `data=synthetic_faces`)."
        ) from error


def read_weights(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """State dict of a local file, and the preprocessing that its metadata records, if any. Executes nothing."""
    if path.suffix != ".safetensors":
        return torch.load(path, map_location="cpu", weights_only=True), None
    try:
        with safe_open(path, "pt") as file:
            described = (file.metadata() or {}).get("input")
        known = {recipe.description: name for name, recipe in RECIPES.items()}
        if described is not None and described not in known:
            raise ValueError(f"The weights {path} expect input `{described}`, which is none of: {'; '.join(known)}.")
        return load_file(path), known.get(described or "")
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable safetensors file ({error}). Copy or convert it again.") from error


def load_performer(performer: Performer, path: Path) -> None:
    """Fill a performer with a trained one's weights.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it was made by a performer of another shape.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no trained performer at {path.absolute()}. Give a `performer.safetensors`, or "
            "`performer.checkpoint=auto` to train one when it is missing."
        )
    state, _ = read_weights(path)
    try:
        performer.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"The trained performer {path} does not fit `performer` in the configuration: {error}"
        ) from error
