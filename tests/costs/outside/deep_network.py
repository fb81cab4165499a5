"""A performer from outside the package that takes 16 bits, and the middle of a picture."""

from torch import Tensor

from semexplain.data.framing import Framing
from tests.costs.outside.grey_network import GreyNetwork


class DeepNetwork(GreyNetwork):
    """A grey network of pictures whose numbers go up to 4095."""

    @property
    def framing(self) -> Framing:
        return Framing(*self.image_shape, shorter=26, interpolation="bicubic", dtype="uint16", top=4095)

    def encode(self, image: Tensor) -> Tensor:
        return self.filters(image.float() / 4095)
