"""An attribution in a trainer's hands: it works whatever mode the trainer is in, and its time is taken."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from semexplain.attributions.base import Attribution
from semexplain.attributions.question import Question
from semexplain.explanation import Performance
from semexplain.system.stopwatch import Stopwatch


class Questions:
    """Batches of training images that can be gone through several times.

    Args:
        start: Starts again at the first.
        watch: Takes the time that it takes to get them.
    """

    def __init__(self, start: Callable[[], Iterator[Question]], watch: Stopwatch | None = None) -> None:
        self.start = start
        self.watch = watch or Stopwatch()

    def __iter__(self) -> Iterator[Question]:
        questions = self.start()
        while True:
            with self.watch:
                question = next(questions, None)
            if question is None:
                return
            yield question


class TimedAttribution(Attribution):
    """Another attribution outside inference mode and autocast, with the time that its answers take.

    Getting the images, and what the performer says of them as a whole, does not count.

    Args:
        rival: The other one.
        device: Where the performer is.
    """

    def __init__(self, rival: Attribution, device: torch.device) -> None:
        self.rival = rival
        self.device = device
        self.training_images = rival.training_images
        self.fitting, self.getting, self.answering = (Stopwatch(device) for _ in range(3))
        self.answered = 0

    def fit(self, questions: Iterable[Question]) -> None:
        """As the other one."""
        with ordinary(self.device), self.fitting:
            self.rival.fit(Questions(lambda: map(differentiable, questions), self.getting))
        self.base_value = self.rival.base_value

    def contributions(self, question: Question) -> Tensor:
        """As the other one."""
        with ordinary(self.device):
            question = differentiable(question)
            with self.answering:
                contributions = self.rival.contributions(question)
        self.answered += len(contributions)
        return contributions

    @property
    def timings(self) -> Mapping[str, float]:  # type: ignore[override]
        """``fit_seconds`` and ``milliseconds_per_image``."""
        return {
            "fit_seconds": self.fitting.seconds - self.getting.seconds,
            "milliseconds_per_image": 1000 * self.answering.seconds / max(1, self.answered),
        }


def differentiable(question: Question) -> Question:
    """The same question without tensors of inference mode, if it is called outside it."""
    return replace(question, performance=Performance(*(part.clone() for part in question.performance)))


@contextmanager
def ordinary(device: torch.device) -> Iterator[None]:
    """Tensors made in here can be differentiated, and keep their precision, whatever is around it."""
    with torch.inference_mode(False), torch.no_grad(), torch.autocast(device.type, enabled=False):
        yield
