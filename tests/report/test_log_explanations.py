"""Images that are drawn while an explainer trains: what the performer sees there is read where it is stored."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from attributions.toys import Filters

from semexplain.report.log_explanations import LogExplanations


class Silent(Filters):
    """Has said all that it has to say."""

    def encode(self, image):
        raise AssertionError("it is stored")


@pytest.mark.parametrize("stored", [False, True])
def test_maps_of_the_images_that_are_drawn(stored):
    images = torch.randn(7, 4, 3, 3)
    split = SimpleNamespace(ids=tuple("abcdefg"), read=lambda row, framing: images[row])
    arrays = {"feature_map": images.numpy().astype(np.float16)} if stored else {}
    data = SimpleNamespace(splits={"val": split}, framing=None, batch_size=2, arrays=lambda name: arrays)
    trainer = SimpleNamespace(is_global_zero=True, loggers=[None], datamodule=data)
    module = SimpleNamespace(performer=Silent() if stored else Filters(), device=torch.device("cpu"))
    callback = LogExplanations({}, images=4)
    callback.on_fit_start(trainer, module)
    rows = [0, 2, 4, 6]
    maps, shown = (torch.cat(some) for some in zip(*callback._maps, strict=True))
    assert callback._ids == ("a", "c", "e", "g")
    assert torch.equal(shown, images[rows])
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps, images[rows], rtol=1e-3 if stored else 0, atol=1e-3 if stored else 0)
