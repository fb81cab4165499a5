"""The zoo's goals, and its page: a table by architecture."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

Record = Mapping[str, Any]
RIGHT = 0.97  # of all networks: explained, or refused with the right reason
HEAD = 0.05  # of a forward pass
COMMAND = "make zoo"
NOT_INSTALLED = "not installed"


def goals(records: Sequence[Record]) -> list[dict[str, Any]]:
    """What was reached of what was meant to be; architectures that are not installed do not count.

    Example:
        >>> passed = {"outcome": "passed", "share": 0.01, "wall_share": 0.02}
        >>> [(goal["value"], goal["met"]) for goal in goals([passed, {"outcome": "refused"}])]
        [(2, False), (1.0, True), (0, True), (0.01, True), (0.02, True)]
    """
    tried = [record for record in records if record["outcome"] != NOT_INSTALLED]
    count = Counter(record["outcome"] for record in tried)
    right = (count["passed"] + count["refused"]) / max(1, len(tried))
    shares, wall = (_known(tried, name) for name in ("share", "wall_share"))
    return [
        _goal("architectures", len(tried), 100, len(tried) >= 100),
        _goal("passed, or refused with the right reason", right, RIGHT, right >= RIGHT),
        _goal("silently wrong", count["wrong"], 0, count["wrong"] == 0),
        _goal("head, share of a forward pass by multiplications, median", shares, HEAD, shares <= HEAD),
        _goal("head, share of a forward pass by the clock, median", wall, HEAD, wall <= HEAD),
    ]


def page(records: Sequence[Record], found: Sequence[Record]) -> str:
    """The page ``docs/zoo.md``."""
    counts = Counter(record["outcome"] for record in records)
    tried = [record for record in records if record["outcome"] != NOT_INSTALLED]
    lines = [
        "# The zoo: any network?",
        "",
        f"`{COMMAND}` writes this page and `benchmarks/results/zoo.json`. Each network has random weights and a "
        "process of its own. It is cut at the layer that",
        "the package chooses or at one that is named, checked (`net.check`), compared with a slower way, fitted for an "
        "epoch on 24 pictures of noise, and explained.",
        "The slower way runs the whole network with PyTorch's hooks, and shares nothing with the package: scores with "
        "and without gradients, gradients at the layer,",
        "and scores of other images while the layer returns what it said of these, for five pairs of images. All must "
        "be equal bit for bit, or, where the network does not",
        "repeat itself, within ten times what it differs from itself (*allowed*). Contributions, base value and "
        "residual must add up to what the whole network says.",
        "",
        "What begins as 0 (last layers, scales of branches) is drawn at random before, norms have the statistics of "
        "images: else a part of the network would not matter,",
        "and a wrong replay of it would go unseen. *Head* is what lies above the layer, as a share of a forward pass: "
        "by multiplications, and by the clock.",
        "",
        "| goal | value | target | |",
        "|---|---|---|---|",
        *(f"| {one['goal']} | {one['value']:.4g} | {one['target']:g} | {_met(one)} |" for one in found),
        "",
        "| package | " + " | ".join(outcomes := ["passed", "refused", "wrong", "failed", NOT_INSTALLED]) + " |",
        "|---|" + "---|" * len(outcomes),
    ]
    for source in dict.fromkeys(record["source"] for record in records):
        own = Counter(record["outcome"] for record in records if record["source"] == source)
        lines.append(f"| {source} | " + " | ".join(str(own[outcome] or "") for outcome in outcomes) + " |")
    lines.append("| all | " + " | ".join(str(counts[outcome] or "") for outcome in outcomes) + " |")
    lines += ["", "## By architecture", "", *_passed(tried), "", *_others(tried)]
    return "\n".join(lines).rstrip() + "\n"


def _passed(records: Sequence[Record]) -> list[str]:
    """Those that passed."""
    lines = [
        "| network | images | layer | map | off | allowed | head | by the clock | doubts |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in sorted(records, key=lambda record: record["source"]):
        if one["outcome"] == "passed":
            size = "x".join(map(str, one["map"]))
            share = "" if one["share"] is None else f"{one['share']:.2%}"
            numbers = f"{one['off']:.2g} | {one['allowed']:.2g} | {share} | {one['wall_share']:.1%}"
            doubts = ", ".join(one["doubts"])
            lines.append(
                f"| {one['source']}: {one['name']} | {one['side']} | `{one['layer']}` | {size} | {numbers} | {doubts} |"
            )
    return lines


def _others(records: Sequence[Record]) -> list[str]:
    """Those that did not, with the reason."""
    headings = {
        "refused": "Refused, rightly",
        "wrong": "Silently wrong",
        "failed": "Failed, or refused without a good reason",
    }
    lines: list[str] = []
    for outcome, heading in headings.items():
        own = [record for record in records if record["outcome"] == outcome]
        if own:
            lines += [f"## {heading}", "", "| network | reason |", "|---|---|"]
            lines += [f"| {record['source']}: {record['name']} | {_last(record['words'])} |" for record in own]
            lines.append("")
    return lines


def _last(words: str) -> str:
    """The line of a stack, or of a refusal, that tells the reason, as a cell of a table."""
    return (words.strip().splitlines() or [""])[-1].replace("|", "\\|")[:400]


def _known(records: Sequence[Record], name: str) -> float:
    return median([record[name] for record in records if record.get(name) is not None] or [float("inf")])


def _goal(goal: str, value: float, target: float, met: bool) -> dict[str, Any]:
    return {"goal": goal, "value": value, "target": target, "met": met}


def _met(goal: Record) -> str:
    return "met" if goal["met"] else "missed"
