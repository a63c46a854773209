"""The answer for a fleet as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor.fleet.recommend_fleet import FleetDocument
from advisor.report.console import render
from profiles.text import amount

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def fleet_text(document: FleetDocument, *, top: int) -> str:
    """How many devices were answered, the files by the share they cover, and what a few of them would do."""
    parts: list[RenderableType] = [_head(document)]
    if document.files:
        parts += ["", _files(document, top)]
        if len(document.files) > top:
            parts.append("The most useful file of each model, by share and score together; --json has all.")
    if document.sets:
        few = len(document.sets[0].files)
        words = "the fewest" if document.proven else "the fewest that were found"
        parts += [
            "",
            f"To cover {document.wanted_share:.0%}, {words} are {few} file{'s' if few > 1 else ''}. "
            "Points lost are those of the score, against the best file of each device, on average:",
            _sets(document),
        ]
    parts += [f"Note: {note}." for note in document.notes]
    return render(*parts)


def _head(document: FleetDocument) -> str:
    text = f"{document.devices:,} devices for task {document.workload.task}"
    if document.without:
        text += f"; on {document.without:,} of them nothing fits"
    if document.failed:
        text += f"; {document.failed:,} lines are no device (--json says why)"
    return text + "."


def _files(document: FleetDocument, top: int) -> Table:
    table = _table()
    table.add_column("file", overflow="fold", min_width=24)
    for name in ("size", "devices", "share", "points lost", "first on"):
        table.add_column(name, justify="right", no_wrap=True)
    of_each_model = {file.model: file for file in reversed(document.files)}
    for file in [file for file in document.files if of_each_model[file.model] is file][:top]:
        table.add_row(
            f"{file.name}:{file.quant}",
            amount(file.file_bytes),
            f"{file.devices:,}",
            f"{file.share:.1%}",
            f"{file.points_lost:.1f}",
            f"{file.first_on:,}",
        )
    return table


def _sets(document: FleetDocument) -> Table:
    table = _table()
    table.add_column("files", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("points lost", justify="right", no_wrap=True)
    table.add_column("which, most useful first", overflow="fold")
    for each in document.sets:
        table.add_row(
            str(len(each.files)), f"{each.share:.1%}", f"{each.points_lost:.1f}", "\n".join(each.files)
        )
    return table


def _table() -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
