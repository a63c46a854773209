"""What the tables of models show, and the words that a row is found by."""

from __future__ import annotations

from collections.abc import Callable

from advisor.evidence import Value
from advisor.language import marked
from advisor.report.documents import DeploymentView, DeviceSummary
from advisor.report.table import MARKS
from advisor.tui.state import RuledOut
from advisor.tui.widgets.grid import Column
from advisor.tui.widgets.memory_bar import bar, budgets_of
from profiles.text import amount, rate, seconds

MEMORY_BAR = 6

Marked = Callable[[str], bool]


def model_columns(
    device: Callable[[], DeviceSummary | None], is_marked: Marked
) -> tuple[Column[DeploymentView], ...]:
    """The columns of the models that fit. `device` gives the budgets, `is_marked` says which are to be compared."""

    def memory(row: DeploymentView) -> str:
        summary = device()
        taken = row.memory.reserved_bytes.high
        drawn = "" if summary is None else bar(MEMORY_BAR, taken, *budgets_of(row, summary))
        return f"{amount(taken):>7} {drawn}"

    return (
        Column("mark", " ", 1, lambda row: "◆" if is_marked(row.model) else " ", style=lambda _row: "marked"),
        Column("rank", "#", 4, _rank, lambda row: row.rank, right=True, style=_front),
        Column(
            "name",
            marked("model"),
            22,
            lambda row: row.name,
            lambda row: row.name.lower(),
            grow=True,
            style=_front,
        ),
        Column("quant", marked("quant"), 7, lambda row: row.quant, lambda row: row.bits_per_weight),
        Column(
            "quality",
            marked("quality"),
            7,
            lambda row: "-" if row.quality.value is None else f"{row.quality.value:.1f}",
            lambda row: row.quality.value,
            right=True,
            best_first=True,
        ),
        Column(
            "tg",
            marked("tokens/s"),
            13,
            lambda row: speed(row.tg_tokens_per_s),
            lambda row: None if row.tg_tokens_per_s is None else row.tg_tokens_per_s.value,
            right=True,
            best_first=True,
            style=_grade,
        ),
        Column(
            "memory", marked("memory"), 8 + MEMORY_BAR, memory, lambda row: row.memory.reserved_bytes.high
        ),
        Column(
            "ttft",
            marked("1st word"),
            8,
            lambda row: "-" if row.ttft_s is None else seconds(row.ttft_s.value),
            lambda row: None if row.ttft_s is None else row.ttft_s.value,
            right=True,
        ),
        Column(
            "size",
            marked("file"),
            8,
            lambda row: amount(row.file_bytes),
            lambda row: row.file_bytes,
            right=True,
        ),
        Column(
            "context",
            marked("context"),
            7,
            lambda row: f"{row.settings.context_length}",
            lambda row: row.settings.context_length,
            right=True,
        ),
        Column(
            "license",
            marked("licence"),
            12,
            lambda row: row.license or "?",
            lambda row: (row.license or "~").lower(),
            grow=True,
        ),
    )


def ruled_out_columns() -> tuple[Column[RuledOut], ...]:
    """The columns of the models that do not fit."""
    return (
        Column("name", marked("model"), 26, lambda row: row.name, lambda row: row.name.lower(), grow=True),
        Column(
            "reason",
            marked("ruled out because it"),
            90,
            lambda row: "; ".join(row.reasons),
            lambda row: (row.constraint, row.reasons),
        ),
    )


def speed(value: Value | None) -> str:
    """ "~12 (8.1-18)": the mark of the grade, the value and its interval."""
    if value is None:
        return "-"
    return f"{MARKS[value.evidence][0]}{_short(value.value)} ({_short(value.low)}-{_short(value.high)})"


def _short(value: float) -> str:
    """A rate for a narrow column: whole numbers from 10 on."""
    return f"{value:.0f}" if value >= 9.95 else rate(value)


def matches(row: DeploymentView, text: str) -> bool:
    """Whether a row has every word of the text in its name, family, quantization, licence or grade."""
    grade = "" if row.tg_tokens_per_s is None else row.tg_tokens_per_s.evidence
    hay = " ".join(
        (row.name, row.model, row.family, row.quant, row.license or "", row.backend, grade)
    ).lower()
    return all(word in hay for word in text.lower().split())


def _rank(row: DeploymentView) -> str:
    return f"{'*' if row.pareto else ''}{row.rank}"


def _front(row: DeploymentView) -> str:
    return "good" if row.pareto else ""


def _grade(row: DeploymentView) -> str:
    here = row.tg_tokens_per_s is not None and row.tg_tokens_per_s.evidence in ("probed", "measured")
    return "good" if here else ""
