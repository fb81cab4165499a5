"""The verdict in one call: explanations, of whatever origin, and the network that they are of."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Union

import torch
from torch import Tensor

from semexplain.data.framing import DTYPES, Framing
from semexplain.explanation import Explanation
from semexplain.judgement.interventions import Interventions
from semexplain.judgement.moved import moved
from semexplain.judgement.verdict import Verdict, judged
from semexplain.performers.base import Performer
from semexplain.system.trouble import Trouble

if TYPE_CHECKING:
    import pandas as pd

Table = Union["pd.DataFrame", Tensor]
AT_ONCE = 32  # images


def verdict(
    explanations: Explanation | Table | Sequence[Explanation | Table],
    network: Performer | Interventions,
    images: Tensor | None = None,
    *,
    progress: bool = False,
) -> Verdict:
    """Whether explanations of a network's scores are faithful to it, and why (not).

    Explanations may come from anywhere: a table of contributions is enough.

    Args:
        explanations: An :class:`~semexplain.explanation.Explanation`; or contributions, a tensor ``(N, n)`` with a
            column for each concept of the network, or a frame whose columns are named after concepts (others get
            nothing); or several of these of the same images, one for each seed of what was trained.
        network: The performer; concepts are then taken away at the feature x. Or what is known of other interventions.
        images: ``(N, C, H, W)``, as the performer takes them; by default the pictures in the explanation, if it takes
            such as can be looked at.
        progress: Show a progress bar.

    Returns:
        The verdict; printed, it is one sentence.

    Raises:
        Trouble: If explanations, network and images do not belong together.

    Example:
        Contributions from elsewhere, and what is known of a network that is linear in three concepts:

        >>> strengths = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
        >>> truth = strengths * torch.tensor([3.0, -2.0, 1.0])
        >>> facts = Interventions(
        ...     means="setting a concept to 0",
        ...     ids=tuple(map(str, range(60))),
        ...     names=("Smiling", "Goatee", "Young"),
        ...     score=truth.sum(1),
        ...     effects=truth,
        ...     redrawn=(strengths * torch.tensor([1.0, 1.0, -4.0]))[None],
        ...     strengths=strengths,
        ... )
        >>> print(verdict(truth, facts))
        FAITHFUL: all four statements hold. It rests on setting a concept to 0, 60 images and one seed.
        >>> equal = truth.sum(1, keepdim=True).expand(-1, 3) / 3
        >>> verdict(equal, facts).word
        'NOT FAITHFUL'
    """
    several = (
        [explanations] if isinstance(explanations, Explanation) or hasattr(explanations, "shape") else explanations
    )
    several = list(several)
    if isinstance(network, Interventions):
        return judged([_as_explanation(one, network) for one in several], network)
    pictures = _pictures(several, images, network.framing)
    network.freeze()
    with torch.no_grad():
        maps = torch.cat([network.encode(some.to(network.device)).float().cpu() for some in pictures.split(AT_ONCE)])
    ids = several[0].ids if several and isinstance(several[0], Explanation) else [str(i) for i in range(len(maps))]
    columns = list(range(len(network.concept_names)))
    facts = moved(network, maps, columns, ids, progress=progress)
    return judged([_as_explanation(one, facts) for one in several], facts)


def _pictures(several: Sequence[Explanation | Table], images: Tensor | None, framing: Framing) -> Tensor:
    """The explained images: those that are given, or else those in the first explanation."""
    pictures = images
    if pictures is None and several and isinstance(several[0], Explanation):
        kept = several[0].image  # which is what the performer took, if it takes what can be looked at
        pictures = kept if kept is not None and tuple(kept.shape[1:]) == framing.shape else None
    if pictures is None or pictures.dtype != DTYPES[framing.dtype] or pictures.ndim != 4:
        given = "none" if pictures is None else f"{pictures.dtype} {tuple(pictures.shape)}"
        raise Trouble(
            f"images: expected the explained images as {framing.dtype} (N, {framing.channels}, H, W), got {given}. "
            "Explain with `pictures=True`, or give `images`."
        )
    return pictures


def _as_explanation(given: Explanation | Table, facts: Interventions) -> Explanation:
    """Contributions beside the scores that they are of; the base value is what they leave on average."""
    if isinstance(given, Explanation):
        return given
    size, n = len(facts.ids), len(facts.names)
    if isinstance(given, Tensor):
        if tuple(given.shape) != (size, n):
            raise Trouble(
                f"contributions: expected ({size}, {n}), a row for each image and a column for each concept, got "
                f"{tuple(given.shape)}."
            )
        names, contributions = facts.names, given.detach().cpu().float()
    else:
        names = tuple(str(name) for name in given.columns)
        if unknown := [name for name in names if name not in facts.names]:
            raise Trouble(
                f"contributions: the network has no concept {unknown[0]!r}; it has {', '.join(facts.names[:3])}, …."
            )
        if len(given) != size:
            raise Trouble(f"contributions: expected a row for each of {size} images, got {len(given)}.")
        contributions = torch.from_numpy(given.to_numpy("float32", copy=True))
    base = (facts.score - contributions.sum(1)).double().mean().float()
    return Explanation(facts.score, torch.ones_like(contributions), contributions, base, names, ids=facts.ids)
