"""The cells of all tables as one long list: what a spreadsheet or a script reads."""

from collections.abc import Iterator, Mapping, Sequence

from semexplain.report.paper import ATTRIBUTES, NETWORKS
from semexplain.report.tables.groups import Group, Spread
from semexplain.report.tables.layout import PLACE, TABLE_3_TARGET, Line, Table, bounds, lines, place, setting_names
from semexplain.report.tables.notes import Cell, cell_notes
from semexplain.report.tables.quantities import ACCURACY, AVERAGE, DEVIATION, ENTROPY, PART_ERROR, spread_of, targets_of

DATA = ("CelebA", "PascalPart")  # the paper's
Record = dict[str, object]


def records(groups: Sequence[Group]) -> list[Record]:
    """A record for each cell that the runs or, for the networks that are there, the paper have.

    Numbers are in the paper's units, unrounded. ``count`` is the number of seeds, of an average that of averaged cells.
    """
    members = [group for group in groups if not group.concepts.startswith("random")]
    dogs = [group for group in members if group.network != ATTRIBUTES and group.target == TABLE_3_TARGET]
    result: list[Record] = []
    for network in [network for network in NETWORKS if any(group.network == network for group in members)]:
        peers = [group for group in members if (group.network == ATTRIBUTES) == (network == ATTRIBUTES)]
        rows = [*lines(peers, (*ENTROPY, *ACCURACY, *DEVIATION), network)]
        if any(group.network == network for group in dogs):
            rows += lines(dogs, PART_ERROR, network)
        result += [record for line in rows for record in _of_line(line)]
    return result


def behind(groups: Sequence[Group]) -> Table:
    """How many runs, seeds, images and objects stand behind the cells."""
    names = setting_names(groups)
    header = [*PLACE, "data", "start", "seeds", "test images", "different objects"]
    rows = [
        [
            *place(names, (group.network, group.target, group.explainer, group.setting)),
            _data(group),
            start_of(group.runs[0].options),
            " ".join(str(run.seed) for run in group.runs),
            *("–" if number is None else str(number) for number in (group.images, group.objects)),
        ]
        for group in groups
    ]
    kinds = sorted({_data(group) for group in groups} - set(DATA))
    remark = f"{', '.join(kinds)}: not the paper's data; the paper's numbers are beside them for orientation only."
    return Table("runs", "Runs behind the cells", header, rows, [remark] if kinds else [])


def start_of(options: Mapping[str, str]) -> str:
    """Where an explainer begins: at PyTorch's weights, of concepts divided by a constant perhaps, or at an attribution.

    Example:
        >>> start_of({"start": "None", "module.concept_scale": "auto"})
        'PyTorch, concepts / auto'
        >>> start_of({"start._target_": "semexplain.attributions.linear_map.LeastSquares"})
        'LeastSquares'
    """
    target = options.get("start._target_", options.get("start", "None")).rpartition(".")[2]
    scale = options.get("module.concept_scale", "None")
    if target != "None":
        return target
    return "PyTorch" if scale == "None" else f"PyTorch, concepts / {scale}"


def _data(group: Group) -> str:
    return group.runs[0].options.get("data._target_", "–").rpartition(".")[2].removesuffix("DataModule")


def _of_line(line: Line) -> Iterator[Record]:
    quantity, network = line.quantity, line.network
    for target in (*targets_of(quantity, network), AVERAGE):
        reference = quantity.paper(network, line.who, target)
        cell = spread_of(line.groups, quantity, target)
        if (reference if line.setting is None else cell) is not None:
            yield _record(line, target, cell, reference)


def _record(line: Line, target: str, cell: Spread | None, reference: float | None) -> Record:
    limits = bounds(line, target, cell) if cell else None
    group = next((group for group in line.groups if target in (group.target, AVERAGE)), None)
    if line.quantity.table == "part_error":
        group = next(iter(line.groups), None)
    address = Cell(line.quantity.table, line.network, line.who, target)
    return {
        "quantity": line.quantity.title,
        "network": line.network,
        "of": line.who,
        "target": target,
        "from": "paper" if line.setting is None else "here",
        "setting": "; ".join(f"{key}={value}" for key, value in line.setting or ()),
        "mean": reference if line.setting is None else cell and cell.mean,
        "std": cell and cell.std,
        "count": cell and cell.size,
        "low": limits and limits[0],
        "high": limits and limits[1],
        "images": group.images if group and target != AVERAGE else None,
        "objects": group.objects if group and target != AVERAGE else None,
        "paper": reference,
        "note": cell_notes().get(address, "") if line.quantity.printed else "",
    }
