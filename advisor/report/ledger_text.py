"""The ledger as text for people, and as CSV for other programs."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from advisor.evidence import Value
from advisor.ledger import Group, Row
from advisor.report.console import render
from advisor.report.ledger_documents import LedgerDocument
from advisor.report.table import MARKS
from profiles.text import rate

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

SHOWN_CLASSES = 12


def ledger_text(document: LedgerDocument) -> str:
    """The rows, newest first, the summaries, and what to make of them."""
    parts: list[RenderableType] = []
    if document.rows:
        parts += [_rows(document.rows), ""]
        grades = {v.evidence for row in document.rows for v in (row.measured, row.predicted) if v is not None}
        legend = ", ".join(" ".join(mark) for grade, mark in MARKS.items() if grade in grades)
        parts.append(f"tokens/s (80% interval): {legend}, ! measured outside the interval.")
    if document.grades:
        parts += ["", _summary((*document.grades, *document.classes[:SHOWN_CLASSES]))]
        left = len(document.classes) - SHOWN_CLASSES
        if left > 0:
            parts.append(f"and {left} more classes; --json has them.")
    parts += ([""] if parts else []) + [document.advice]
    parts += [f"Note: {note}." for note in document.notes]
    return render(*parts)


def ledger_csv(document: LedgerDocument) -> str:
    """A line a row. Columns as in the JSON document, values spread out."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    plain = (
        "at",
        "device",
        "engine",
        "model",
        "name",
        "test",
        "speed",
        "backend",
        "size_class",
        "tensor_type",
    )
    values = ("predicted", "measured")
    spread = [f"{name}_{part}" for name in values for part in ("grade", "tokens_per_s", "low", "high")]
    writer.writerow([*plain, *spread, "error", "inside"])
    for row in document.rows:
        cells: list[object] = [getattr(row, name) for name in plain]
        for name in values:
            value: Value | None = getattr(row, name)
            cells += [None] * 4 if value is None else [value.evidence, value.value, value.low, value.high]
        writer.writerow([*cells, row.error, row.inside])
    return out.getvalue()


def _table() -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)


def _rows(rows: tuple[Row, ...]) -> RenderableType:
    table = _table()
    table.add_column("when", no_wrap=True)
    table.add_column("model", overflow="fold", min_width=16)
    table.add_column("test", no_wrap=True)
    for heading in ("predicted", "measured", "error"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.at[:10],
            row.name,
            row.test.replace(" @ ", "@"),
            "-" if row.predicted is None else _interval(row.predicted),
            MARKS[row.measured.evidence][0] + rate(row.measured.value),
            "-" if row.error is None else f"{row.error:+.0%}{' ' if row.inside else '!'}",
        )
    return table


def _interval(value: Value) -> str:
    return f"{MARKS[value.evidence][0]}{rate(value.value)} ({rate(value.low)}-{rate(value.high)})"


def _summary(groups: tuple[Group, ...]) -> RenderableType:
    table = _table()
    table.add_column("predictions", overflow="fold", min_width=24)
    for heading in ("n", "median error", "inside 80%", "bias"):
        table.add_column(heading, justify="right", no_wrap=True)
    for group in groups:
        facets = (group.speed, group.backend, group.size_class, group.tensor_type)
        known = [text for text in facets if text is not None]
        table.add_row(
            f"{group.grade}, all" if not known else f"  {group.grade}: {' '.join(known)}",
            str(group.n),
            f"{group.median_error:.0%}",
            f"{group.inside:.0%}",
            f"{group.bias:+.0%}",
        )
    return table
