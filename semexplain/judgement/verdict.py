"""The verdict on explanations: what four statements say together, and why."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch

from semexplain.explanation import Explanation
from semexplain.judgement.interventions import Interventions
from semexplain.judgement.resampling import DRAWS, Resampling
from semexplain.judgement.statements import Evidence, Statement, adds_up, learned, own_concepts, shares
from semexplain.metrics.verdict import ENDS, FAITHFUL, FAITHFUL_AS, PREFIX
from semexplain.system.trouble import Trouble

Word = Literal["FAITHFUL", "NOT FAITHFUL", "NOT SHOWN"]
FEWEST = 20  # images
JUDGED = 0.5  # least part of what is said, as spread over images, that is said of concepts that can be taken away
SAME = 0.05  # share of the range of scores by which those of a stored map, or of a picture drawn again, may differ


class Verdict(NamedTuple):
    """Whether explanations are true, and why.

    They are faithful to a network in what can be told by the interventions: other ones may say otherwise.

    Attributes:
        word: ``FAITHFUL`` if all statements hold; ``NOT FAITHFUL`` if one fails; else ``NOT SHOWN``.
        reason: In one sentence.
        statements: The four.
        means: The interventions on which it rests, in words.
        images: How many images.
        seeds: How many explanations of them.
    """

    word: Word
    reason: str
    statements: tuple[Statement, ...]
    means: str
    images: int
    seeds: int

    @property
    def numbers(self) -> dict[str, float]:
        """Every number by its name in ``metrics.json``, the ends of its interval with ``_low`` and ``_high``."""
        table = {FAITHFUL: FAITHFUL_AS[self.word]}
        for statement in self.statements:
            for name, estimate in statement.estimates.items():
                table |= {f"{PREFIX}/{name}{end}": value for end, value in zip(ENDS, estimate, strict=True)}
        return table

    def __str__(self) -> str:
        seeds = "one seed" if self.seeds == 1 else f"{self.seeds} seeds"
        return f"{self.word}: {self.reason}. It rests on {self.means}, {self.images} images and {seeds}."


def judged(
    explanations: Explanation | Sequence[Explanation], interventions: Interventions, *, draws: int = DRAWS
) -> Verdict:
    """Judge explanations of the same images.

    Args:
        explanations: One for each seed of whatever was trained.
        interventions: What becomes of the images' scores without their concepts, or their parts if those are named.
        draws: Of the bootstrap.

    Raises:
        Trouble: If there are no explanations, or they are of other images, concepts or scores.
    """
    several = [explanations] if isinstance(explanations, Explanation) else list(explanations)
    evidence = _evidence(several, interventions, draws)
    images = len(evidence.score)
    if trouble := _nothing_to_judge(evidence):
        return Verdict(trouble[0], trouble[1], (), interventions.means, images, len(several))
    statements = _statements(evidence)
    failed = [s.reason for s in statements if s.holds is False]
    unsure = [s.reason for s in statements if s.holds is None]
    if len(several) > 1 and not failed:  # the mean of several seeds hides one that lies
        alone = [s for seed in range(len(several)) for s in _statements(evidence.of_seed(seed))]
        failed += [f"of one seed, {s.reason}" for s in alone if s.holds is False]
        unsure += [f"of one seed, {s.reason}" for s in alone if s.holds is None]
    if (part := _judged_part(evidence)) < JUDGED:
        said = "what is said" if interventions.drawn is None else "what is said of those drawn"
        unsure.append(f"concepts that can be taken away carry {part:.0%} of {said}, {JUDGED:.0%} is asked")
    word: Word = "NOT FAITHFUL" if failed else "NOT SHOWN" if unsure else "FAITHFUL"
    reason = (failed or unsure or ["all four statements hold"])[0]
    return Verdict(word, reason, statements, interventions.means, images, len(several))


def _statements(evidence: Evidence) -> tuple[Statement, ...]:
    return tuple(statement(evidence) for statement in (adds_up, own_concepts, shares, learned))


def _judged_part(evidence: Evidence) -> float:
    """Least part, over the seeds, of contributions' spread that is of concepts that could be taken away.

    Concepts that were not drawn count on neither side: which they are, chance has decided.
    """
    spread = evidence.contributions.std(1, correction=0)
    parts = spread[:, evidence.columns].sum(1) / spread[:, evidence.asked].sum(1).clamp_min(1e-300)
    return float(parts.min())


def _evidence(several: Sequence[Explanation], interventions: Interventions, draws: int) -> Evidence:
    if not several:
        raise Trouble("There are no explanations to judge.")
    first = several[0]
    tables = [_table(explanation, interventions) for explanation in several]
    names = tables[0][0]
    for explanation, (other, _) in zip(several, tables, strict=True):
        if explanation.ids != first.ids or other != names:
            raise Trouble(
                "Explanations that are judged together must be of the same images and concepts, in the same order."
            )
    if len(set(names)) < len(names):
        raise Trouble("A concept is named twice in the explanations. Give each concept its own name.")
    facts = interventions.aligned(first.ids, names)
    if not bool(facts.score.isfinite().all()):
        raise Trouble("Some scores are not numbers. Give images that the network can score.")
    spared = () if facts.drawn is None else set(interventions.names) - set(facts.drawn)
    distance = (facts.score - first.score.cpu()).abs().max()
    if distance > SAME * (facts.score.max() - facts.score.min()) + 1e-3 * facts.score.abs().max():
        raise Trouble(
            f"The explanations are of another network: an image's score differs by {distance:.3g}. Give the network "
            "that was explained."
        )
    return Evidence(
        names=names,
        score=facts.score.double(),
        contributions=torch.stack([table.cpu().double() for _, table in tables]),
        base_value=torch.stack([explanation.base_value.cpu().double() for explanation in several]),
        effects=facts.effects.double(),
        ends=None if facts.ends is None else facts.ends.double(),
        redrawn=facts.redrawn.double(),
        strengths=facts.strengths.double(),
        resampling=Resampling(len(first), len(several), draws=draws),
        asked=[column for column, name in enumerate(names) if name not in spared],
    )


def _nothing_to_judge(evidence: Evidence) -> tuple[Word, str] | None:
    """A verdict that needs no statements, if there is nothing to make them of."""
    images = len(evidence.score)
    if not bool(evidence.contributions.isfinite().all() and evidence.base_value.isfinite().all()):
        return "NOT FAITHFUL", "some contributions are not numbers"
    if bool(evidence.score.max() == evidence.score.min()):
        return "NOT SHOWN", "all scores are equal, so there is nothing to explain"
    if images < FEWEST:
        return "NOT SHOWN", f"{images} images are too few, at least {FEWEST} are needed"
    return None


def _table(explanation: Explanation, interventions: Interventions) -> tuple[tuple[str, ...], torch.Tensor]:
    """Contributions of what was taken away: the concepts, or the parts that filters stand for."""
    if set(interventions.names) & set(explanation.concepts):
        return explanation.concepts, explanation.contributions
    if explanation.part_contributions is not None and set(interventions.names) & set(explanation.parts):
        return explanation.parts, explanation.part_contributions
    raise Trouble(
        f"The interventions are on {', '.join(interventions.names[:3])}, …, none of which is explained: the "
        f"explanations have {', '.join(explanation.concepts[:3])}, …"
    )
