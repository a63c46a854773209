"""Two or three deployments side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from advisor.language import _, marked
from advisor.report.documents import DeploymentView
from advisor.tui.columns import MEMORY_BAR
from advisor.tui.screens.base import Dialog
from advisor.tui.screens.details import GRADES
from advisor.tui.state import Ranking
from advisor.tui.widgets.keys import Keys
from advisor.tui.widgets.memory_bar import bar, budgets_of
from profiles.text import amount, count, rate, seconds

Fact = tuple[str, Callable[[DeploymentView], str], Callable[[DeploymentView], float | None] | None]


class CompareScreen(Dialog):
    """A column a model; the best of each line is marked."""

    HELP = marked(
        "The marked models side by side. A dot marks the best of each line where more or less is better."
    )
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,q,c", "close", show=False)]
    DEFAULT_CSS = """
    CompareScreen > .dialog { width: 96%; max-width: 130; }
    CompareScreen Static { height: auto; }
    """

    def __init__(self, rows: list[DeploymentView], ranking: Ranking) -> None:
        super().__init__()
        self._rows, self._ranking = rows, ranking

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog") as scroll:
            scroll.border_title = _("Side by side")
            yield Static(self._table())
        yield Keys(show_command_palette=False)

    def _table(self) -> Table:
        table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", expand=True)
        table.add_column("", no_wrap=True, style="dim")
        for row in self._rows:
            table.add_column("", width=1, no_wrap=True)  # the mark
            table.add_column(row.name, ratio=1, overflow="fold")
        for label, cell, better in self._facts():
            scores = [None if better is None else better(row) for row in self._rows]
            known = [score for score in scores if score is not None]
            best = max(known) if len(set(known)) > 1 else None
            cells: list[Text] = []
            for row, score in zip(self._rows, scores, strict=True):
                leads = best is not None and score == best
                style = "bold" if leads else ""
                cells += [Text("●" if leads else "", style), Text(cell(row), style)]
            table.add_row(_(label), *cells)
        return table

    def _facts(self) -> tuple[Fact, ...]:
        device = self._ranking.device
        return (
            (marked("quant"), lambda row: row.quant, None),
            (marked("rank"), lambda row: str(row.rank), lambda row: None if row.rank is None else -row.rank),
            (marked("quality"), _quality, lambda row: row.quality.value),
            (
                marked("tokens/s"),
                lambda row: _interval(row),
                lambda row: None if row.tg_tokens_per_s is None else row.tg_tokens_per_s.value,
            ),
            (marked("known"), _grade, None),
            (
                marked("prompt tokens/s"),
                lambda row: "-" if row.pp_tokens_per_s is None else rate(row.pp_tokens_per_s.value),
                lambda row: None if row.pp_tokens_per_s is None else row.pp_tokens_per_s.value,
            ),
            (
                marked("first token"),
                lambda row: "-" if row.ttft_s is None else seconds(row.ttft_s.value),
                lambda row: None if row.ttft_s is None else -row.ttft_s.value,
            ),
            (
                marked("memory"),
                lambda row: amount(row.memory.reserved_bytes.high),
                lambda row: -row.memory.reserved_bytes.high,
            ),
            (
                "",
                lambda row: bar(2 * MEMORY_BAR, row.memory.reserved_bytes.high, *budgets_of(row, device)),
                None,
            ),
            (marked("file"), lambda row: amount(row.file_bytes), lambda row: -row.file_bytes),
            (marked("parameters"), lambda row: count(row.parameters), None),
            (marked("bits per weight"), lambda row: f"{row.bits_per_weight:.2f}", None),
            (marked("KV cache"), lambda row: f"{row.settings.type_k}/{row.settings.type_v}", None),
            (marked("runs on"), lambda row: row.backend, None),
            (marked("licence"), lambda row: row.license or _("not known"), None),
            (
                marked("score"),
                lambda row: "-" if row.score.total is None else f"{row.score.total:.1f}",
                lambda row: row.score.total,
            ),
        )


def _quality(row: DeploymentView) -> str:
    quality = row.quality
    if quality.value is None or quality.low is None or quality.high is None:
        return "-"
    return f"{quality.value:.1f} ({quality.low:.1f}-{quality.high:.1f})"


def _interval(row: DeploymentView) -> str:
    tg = row.tg_tokens_per_s
    return "-" if tg is None else f"{rate(tg.value)} ({rate(tg.low)}-{rate(tg.high)})"


def _grade(row: DeploymentView) -> str:
    return "-" if row.tg_tokens_per_s is None else _(GRADES[row.tg_tokens_per_s.evidence])
