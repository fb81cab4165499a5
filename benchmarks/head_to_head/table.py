"""The table: one for each world, a row for each way of explaining."""

from collections.abc import Sequence

from .records import Record, mean, order

COLUMNS = {
    "rank corr. with Shapley ↑": "rank_correlation",
    "with removal ↑": "removal_rank_correlation",
    "sign agreement ↑": "sign_agreement",
    "contribution error ↓": "contribution_error",
    "part error ↓": "part_error_mean",
    "part rank corr. ↑": "part_rank_correlation",
    "rel. deviation ↓": "relative_deviation",
    "accuracy ↑": "explainer_accuracy_tau_0",
    "reliance on concepts ↑": "concept_reliance",
    "entropy": "contribution_entropy",
    "concepts for 95 %": "concept_count",
    "deletion ↓": "deletion_area",
    "insertion ↑": "insertion_area",
    "faithfulness corr. ↑": "faithfulness_correlation",
    "completeness gap ↓": "completeness_gap",
    "sensitivity ↓": "average_sensitivity",
    "similarity to a redrawn head ↓": "randomisation_similarity",
    "passes": "passes",
    "ms / image": "milliseconds_per_image",
    "fit, s": "fit_seconds",
    "memory, MB": "memory_mb",
}


def table(records: Sequence[Record], world: str) -> str:
    """Markdown: means over the seeds ± half of their 95 % interval; empty where a number does not exist."""
    shown = {title: key for title, key in COLUMNS.items() if any(key in r.numbers for r in records if r.world == world)}
    lines = ["| | " + " | ".join(shown) + " |", "|---" * (len(shown) + 1) + "|"]
    for method in order(records, world):
        cells = [str(mean(records, world, method, key)) for key in shown.values()]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
