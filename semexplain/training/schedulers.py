"""Learning-rate schedules that PyTorch does not have."""

from typing import Annotated

from annotated_types import Ge, Gt
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class LogspaceLR(LambdaLR):
    """Let the learning rate fall geometrically for some epochs, then stay.

    Epoch ``t = 0, 1, ...`` has the rate ``lr * end_factor ** min(t / (epochs - 1), 1)``: interpretable CNNs are trained
    with 1e-4 down to 1e-5 over ten epochs and 1e-5 from then on.

    Args:
        optimizer: Whose rates to set.
        end_factor: Last rate as a share of the first.
        epochs: Epochs from the first rate to the last, both counted.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        >>> scheduler = LogspaceLR(optimizer, end_factor=0.01, epochs=3)
        >>> rates = []
        >>> for _ in range(4):
        ...     rates.append(round(optimizer.param_groups[0]["lr"], 6))
        ...     optimizer.step()
        ...     scheduler.step()
        >>> rates
        [1.0, 0.1, 0.01, 0.01]
    """

    def __init__(
        self, optimizer: Optimizer, end_factor: Annotated[float, Gt(0)] = 0.1, epochs: Annotated[int, Ge(2)] = 10
    ) -> None:
        super().__init__(optimizer, lambda epoch: end_factor ** min(epoch / (epochs - 1), 1.0))
