"""The answer for a fleet as text for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from advisor.fleet.recommend_fleet import FleetDocument
from advisor.fleet.verify_fleet import FleetVerification
from advisor.report.console import render
from advisor.verify_checks import Status
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


def fleet_verification_text(result: FleetVerification) -> str:
    """How many devices the deployment holds on, and by which checks it does not hold on the others."""
    what = result.deployment or result.manifest
    parts: list[RenderableType] = [
        f"{what}: holds on {result.passed:,} of {result.devices:,} devices, by estimate; fails on {result.failed:,}, "
        f"unknown on {result.unknown:,}."
    ]
    if result.bad_lines:
        parts.append(f"{result.bad_lines:,} lines are no device (--json says why).")
    if result.by_check:
        table = _table()
        table.add_column("of the devices", overflow="fold")
        for status in get_args(Status):
            table.add_column(status, justify="right", no_wrap=True)
        for name, found in result.by_check.items():
            table.add_row(name, *(f"{found.get(status, 0):,}" for status in get_args(Status)))
        parts += ["", table]
    if result.checks:
        table = _table()
        for title in ("of the deployment itself", "", ""):
            table.add_column(title, overflow="fold")
        for check in result.checks:
            table.add_row(check.title, check.status, check.message)
        parts += ["", table]
    parts += [f"Note: {note}." for note in result.notes]
    return render(*parts, "", f"Verdict: {result.verdict} (exit code {result.exit_code}).")


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
    for name in ("size", "devices", "share", "lost", "first on"):
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
    table.add_column("lost", justify="right", no_wrap=True)
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
