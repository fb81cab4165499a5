"""The gallery of the verdict: truths are exact, liars lie as they say, and the verdict tells them apart."""

import itertools

import numpy as np
import pytest
import torch
from support import FACES
from torch import Tensor

from benchmarks.head_to_head.shapley import coalitions
from benchmarks.verdict.drawn import single_removals
from benchmarks.verdict.facts import Facts, explained, load_facts, save_facts, unknown_rest, with_rest
from benchmarks.verdict.figure import accepted
from benchmarks.verdict.liars import liars
from benchmarks.verdict.moved import OFFSET, Layers, interventions_of, line_of, linear_facts, sampled_shapley
from benchmarks.verdict.performers import World
from benchmarks.verdict.pictures import pictures
from benchmarks.verdict.verdicts import Judgement, goals
from semexplain.concepts.outputs import RIDGE
from semexplain.data.synthetic_faces import SyntheticFacesDataModule
from semexplain.explanation import Explanation
from semexplain.judgement.interventions import Interventions
from semexplain.judgement.verdict import judged

NAMES = ("bangs", "beard", "glasses", "hat", "smile", "tie")
IMAGES = 200
# Those of the audit, and what may be said of them.
FALSE = (
    *("equal shares", "equal shares as weights", "all on one concept", "random shares", "random contributions"),
    *("shuffled concepts", "shuffled concepts, centred", "a redrawn network"),
    *("means of the label", "the mean explanation", "the mean explanation, made to add up", "another image's"),
    *("two concepts exchanged", "all concepts mixed up", "twice the truth", "the sign flipped"),
    *("the sign flipped, made to add up", "another score's"),
)
NOT_TRUE = (
    *("shares by strength", "weights of another image", "the neighbour's", "the neighbour's, made to add up"),
    *("a memorised table", "a memorised table, made to add up", "half the truth"),
)


class Network:
    """A score that weighs concepts, differently in every image, and in pairs: its Shapley values have a formula."""

    def __init__(self, seed: int) -> None:
        random = torch.Generator().manual_seed(seed)
        n = len(NAMES)
        self.weights = torch.randn(n, generator=random, dtype=torch.float64)
        self.pairs = torch.randn(n, n, generator=random, dtype=torch.float64).triu(1) / 4
        self.seen = torch.randn(n, n, generator=random, dtype=torch.float64) * 1.5 / n**0.5

    def score(self, strengths: Tensor, own: Tensor) -> Tensor:
        """``(N,)``, of which it sees in its own way what is special ``(N, n)``."""
        pairs = torch.einsum("bi,ij,bj->b", strengths, self.pairs, strengths)
        return ((self.weights + own @ self.seen) * strengths).sum(1) + pairs

    def removals(self, strengths: Tensor, own: Tensor) -> Tensor:
        """``(N, n)``, by setting one concept to 0 after the other."""
        whole, n = self.score(strengths, own), len(NAMES)
        return torch.stack([whole - self.score(strengths * (torch.arange(n) != i), own) for i in range(n)], 1)

    def shapley(self, strengths: Tensor, own: Tensor) -> Tensor:
        """``(N, n)``: each of a pair gets half of what only both have."""
        both = self.pairs + self.pairs.T
        return (self.weights + own @ self.seen) * strengths + strengths * (strengths @ both) / 2


@pytest.fixture(scope="module")
def facts() -> Facts:
    """A world without pictures."""
    random = torch.Generator().manual_seed(7)

    def image_tables() -> tuple[Tensor, Tensor]:
        strengths, own = torch.randn(2, IMAGES, len(NAMES), generator=random, dtype=torch.float64)
        return strengths, own

    (strengths, own), (memory, memory_own) = image_tables(), image_tables()
    network, *redrawn, other = (Network(seed) for seed in range(5))
    score = network.score(strengths, own)
    interventions = Interventions(
        means="setting a concept to 0",
        ids=tuple(map(str, range(IMAGES))),
        names=(*NAMES, "everything else"),
        score=score,
        effects=unknown_rest(network.removals(strengths, own)),
        redrawn=unknown_rest(torch.stack([one.removals(strengths, own) for one in redrawn])),
        strengths=unknown_rest(strengths),
    )

    def truth(shares: Tensor) -> Explanation:
        return explained(interventions, with_rest(shares, score), 0.0, "young")

    return Facts(
        interventions=interventions,
        target="young",
        base=0.0,
        truths={
            "Shapley values": truth(network.shapley(strengths, own)),
            "single removals": truth(network.removals(strengths, own)),
        },
        labels=score > score.median(),
        redrawn=with_rest(redrawn[0].shapley(strengths, own), redrawn[0].score(strengths, own)),
        others={"another score": with_rest(other.shapley(strengths, own), other.score(strengths, own))},
        memory=memory,
        remembered=with_rest(network.removals(memory, memory_own), network.score(memory, memory_own)),
    )


def test_shapley_values_of_the_formula_are_those_of_all_orders(facts):
    network, strengths, n = Network(0), facts.interventions.strengths[:3, :-1], len(NAMES)
    own = torch.zeros_like(strengths)
    found = torch.zeros_like(strengths)
    orders = list(itertools.permutations(range(n)))
    for order in orders:
        present = torch.zeros(n, dtype=torch.float64)
        before = network.score(strengths * present, own)
        for i in order:
            present[i] = 1
            after = network.score(strengths * present, own)
            found[:, i] += (after - before) / len(orders)
            before = after
    torch.testing.assert_close(network.shapley(strengths, own), found)


def test_there_are_enough_kinds_and_they_have_the_same_images_and_concepts(facts):
    gallery = liars(facts)
    assert len(gallery) >= 12
    assert {*FALSE, *NOT_TRUE} <= gallery.keys()
    for explanation in (*gallery.values(), *facts.truths.values()):
        assert explanation.ids == facts.interventions.ids
        assert explanation.concepts == facts.interventions.names
        assert bool(explanation.contributions.isfinite().all())


def test_truths_add_up_and_so_do_liars_that_say_so(facts):
    gallery = liars(facts)
    adding = [kind for kind in gallery if kind.endswith("made to add up")]
    adding += ["equal shares", "equal shares as weights", "all on one concept", "random shares", "random contributions"]
    adding += ["shares by strength", "a redrawn network", "means of the label", "two concepts exchanged"]
    for explanation in [*facts.truths.values(), *(gallery[kind] for kind in adding)]:
        torch.testing.assert_close(explanation.prediction, facts.interventions.score)


def test_liars_say_what_their_names_say(facts):
    gallery, truth = liars(facts), facts.truths["Shapley values"].contributions
    strengths = facts.interventions.strengths[:, :-1]
    score = facts.interventions.score
    n = len(NAMES)
    torch.testing.assert_close(gallery["equal shares"].contributions[:, :n], (score[:, None] / n).expand(-1, n))
    torch.testing.assert_close(gallery["equal shares as weights"].weights[:, :n], score[:, None] / (n * strengths))
    assert bool(((gallery["all on one concept"].contributions != 0).sum(1) == 1).all())
    torch.testing.assert_close(gallery["half the truth"].contributions, truth / 2)
    for row in range(5):
        distances = ((strengths - strengths[row]) / strengths.std(0)).norm(dim=1)
        distances[row] = torch.inf
        nearest = int(distances.argmin())
        torch.testing.assert_close(gallery["the neighbour's"].contributions[row], truth[nearest])
        others = ((facts.memory - strengths[row]) / facts.memory.std(0)).norm(dim=1)
        remembered = facts.remembered[int(others.argmin())]
        torch.testing.assert_close(gallery["a memorised table"].contributions[row], remembered)
    order = truth[:, :n].abs().mean(0).argsort(descending=True).tolist()
    exchanged = gallery["two concepts exchanged"].contributions
    torch.testing.assert_close(exchanged[:, order[0]], truth[:, order[1]])
    torch.testing.assert_close(exchanged[:, order[1]], truth[:, order[0]])
    torch.testing.assert_close(exchanged[:, order[2:]], truth[:, order[2:]])


@pytest.mark.parametrize("kind", ["Shapley values", "single removals"])
def test_the_verdict_accepts_the_truth(facts, kind):
    verdict = judged(facts.truths[kind], facts.interventions)
    assert verdict.word == "FAITHFUL", verdict.reason


@pytest.mark.parametrize("kind", FALSE)
def test_the_verdict_rejects_liars(facts, kind):
    assert judged(liars(facts)[kind], facts.interventions).word == "NOT FAITHFUL"


@pytest.mark.parametrize("kind", NOT_TRUE)
def test_the_verdict_does_not_accept_what_is_nearly_true(facts, kind):
    assert judged(liars(facts)[kind], facts.interventions).word != "FAITHFUL"


def test_what_is_known_survives_being_written(facts, tmp_path):
    save_facts({"drawn": facts}, tmp_path / "facts.pt")
    found = load_facts(tmp_path / "facts.pt")["drawn"]
    torch.testing.assert_close(found.interventions.effects, facts.interventions.effects, equal_nan=True)
    assert found.truths.keys() == facts.truths.keys()
    for name, truth in facts.truths.items():
        torch.testing.assert_close(found.truths[name].contributions, truth.contributions, rtol=0, atol=0)
    assert liars(found).keys() == liars(facts).keys()


def test_single_removals_weigh_a_change_with_how_often_it_happens():
    scores = torch.randn(5, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    own = coalitions(3)[[0, 3, 5, 6, 7]]
    rates = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    found = single_removals(scores, own, rates)
    for image, i in itertools.product(range(5), range(3)):
        with_, without = own[image].clone(), own[image].clone()
        with_[i], without[i] = True, False
        values = [scores[image, int(state.long() @ torch.tensor([1, 2, 4]))] for state in (with_, without)]
        expected = rates[i] * values[0] + (1 - rates[i]) * values[1]
        actual = values[0] if own[image, i] else values[1]
        torch.testing.assert_close(found[image, i], actual - expected)


def test_two_concepts_need_one_order_and_its_reverse():
    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def game(present: Tensor) -> Tensor:
        a, b = (present * x).unbind(-1)
        return a + 3 * b + a * b

    found, error = sampled_shapley(game, x, 2, pairs=3)
    a, b = x.unbind(1)
    torch.testing.assert_close(found, torch.stack([a + a * b / 2, 3 * b + a * b / 2], 1))
    assert error == pytest.approx(0, abs=1e-12)


def test_a_bottleneck_loses_exactly_what_a_concept_weighs():
    random = torch.Generator().manual_seed(3)
    x, memory = torch.randn(6, 4, generator=random), torch.randn(50, 4, generator=random)
    matrix = torch.randn(4, 3, generator=random)
    layers = Layers(lambda x: (x.sum(1), (x @ matrix).relu() + x[:, :3]), x, memory, filters=False)
    lines = [line_of(layers, seed) for seed in range(3)]
    ids = tuple("abcdef")
    facts = linear_facts(lines, ("p", "q", "r"), ids, "young")
    strengths = facts.interventions.strengths[:, :-1]
    effects = interventions_of([line.layers for line in lines], ("p", "q", "r"), ids)[0].effects[:, :-1]
    centred = (strengths - facts.memory.mean(0)) * lines[0].weights
    torch.testing.assert_close(effects * (1 + RIDGE), centred, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(facts.truths["true weights"].weights[:, :-1], lines[0].weights.expand(6, -1))
    torch.testing.assert_close(facts.truths["true weights, centred"].contributions[:, :-1], centred)
    assert facts.truths["true weights"].base_value == OFFSET


def test_pictures_are_the_scenes_in_every_state_and_drawn_once(faces, tmp_path):
    datamodule = SyntheticFacesDataModule(root=str(faces), image_size=32, **FACES)
    datamodule.setup()
    names = ("Smiling", "Eyeglasses")
    world = World("some faces", (), (), names, 3, 2)
    found = pictures(world, datamodule, "test", tmp_path)
    assert found.pixels.shape == (3, 4, 3, 32, 32)
    scenes = {datamodule.splits["test"].ids[scene.position]: scene for scene in datamodule.scenes("test")}
    columns = [datamodule.redrawable.index(name) for name in names]
    for number, name in enumerate(found.ids):
        present = scenes[name].present.copy()
        for state in range(4):
            present[columns] = [state % 2 == 1, state >= 2]
            np.testing.assert_array_equal(found.pixels[number, state], scenes[name].draw(present).numpy())
    memory = pictures(world, datamodule, "train", tmp_path)
    assert memory.pixels.shape == (2, 3, 3, 32, 32)
    torch.testing.assert_close(memory.states[:, 0], memory.own)
    torch.testing.assert_close(memory.states[:, 1:] ^ memory.own[:, None], torch.eye(2).bool().expand(2, -1, -1))
    before = (tmp_path / "some_faces" / "explained.npy").stat().st_mtime_ns
    pictures(world, datamodule, "test", tmp_path)
    assert (tmp_path / "some_faces" / "explained.npy").stat().st_mtime_ns == before


def test_mistakes_are_counted_overall_and_by_kind():
    def row(kind: str, honest: bool, word: str) -> Judgement:
        return Judgement("a", "drawn faces", "Young", "drawn", kind, honest, word, "", ())

    rows = [row("equal shares", False, "NOT FAITHFUL")] * 30 + [row("random shares", False, "FAITHFUL")] * 2
    rows += [row("Shapley values", True, "FAITHFUL")] * 19 + [row("Shapley values", True, "NOT SHOWN")]
    found = {goal["goal"]: goal for goal in goals(rows)}
    assert found["false accepts, overall"]["value"] == 2 / 32
    assert found["false accepts, overall"]["met"] is False
    assert found["false accepts of equal shares"] | {"low": 0, "high": 0} == {
        **{"goal": "false accepts of equal shares", "value": 0.0, "low": 0, "high": 0},
        **{"of": 30, "target": 0.05, "met": True},
    }
    assert found["false accepts of random shares"]["met"] is False
    assert found["false rejects of exact truths, overall"]["value"] == 0.05
    assert found["false rejects of exact truths, overall"]["met"] is True
    assert found["false rejects, drawn, drawn faces"]["of"] == 20
    figure = accepted(rows)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["Shapley values", "equal shares", "random shares"]
