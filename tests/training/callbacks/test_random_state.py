"""Random numbers after a resume are those that would have come."""

import torch
from pytorch_lightning import LightningModule, Trainer

from semexplain.training.callbacks.random_state import RandomState


def test_the_numbers_go_on():
    torch.manual_seed(4)
    torch.rand(3)
    state = RandomState().state_dict()
    expected = torch.rand(5)
    torch.manual_seed(99)
    resumed = RandomState()
    resumed.load_state_dict(state)
    torch.rand(7)  # whatever is drawn before training starts
    resumed.on_train_start(Trainer, LightningModule)
    assert torch.equal(torch.rand(5), expected)
    resumed.on_train_start(Trainer, LightningModule)  # only once
    assert not torch.equal(torch.rand(5), expected)
