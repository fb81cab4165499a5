"""Random groups of concepts, as a whole or in shares."""

import pytest
import torch

from semexplain.concepts.base import random_presence


def test_a_concept_is_present_as_far_as_the_groups_it_belongs_to_are() -> None:
    shares = torch.tensor([[0.75, 0.0, 0.5, 0.0], [0.25, 1.0, 0.125, 0.0], [0.0, 0.0, 0.375, 1.0]])
    torch.manual_seed(0)
    present = random_presence(50, 4, shares).reshape(-1, 4)
    sums = {
        tuple(sum((shares[g] for g in range(3) if number >> g & 1), torch.zeros(4)).tolist()) for number in range(8)
    }
    assert {tuple(row) for row in present.tolist()} == sums  # every set of groups, and nothing else
    assert present.amax() == 1
    assert present.mean().item() == pytest.approx(0.5, abs=0.1)
