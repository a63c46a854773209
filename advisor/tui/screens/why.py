"""Why a model is ruled out, and what would let it in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widgets import Static

from advisor.language import _, marked
from advisor.report.documents import ExplanationDocument
from advisor.tui.screens.base import Dialog
from advisor.tui.state import Ranking, RuledOut
from advisor.tui.widgets.keys import Keys
from advisor.tui.widgets.remaining import CONSTRAINTS
from profiles.text import amount, rate


class WhyScreen(Dialog):
    """The reasons at once; what would help is worked out in a thread."""

    HELP = marked(
        "What rules this model out, the single changes that would let it in, each checked by asking again, and how "
        "every quantization of it fares."
    )
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,q", "close", show=False)]
    DEFAULT_CSS = """
    WhyScreen Static { height: auto; }
    """

    @dataclass
    class Explained(Message):
        document: ExplanationDocument

    def __init__(self, row: RuledOut, ranking: Ranking) -> None:
        super().__init__()
        self._row, self._ranking = row, ranking

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog") as scroll:
            scroll.border_title = self._row.name
            yield Static(Group(*self._reasons(), Text(), Text(_("looking for what would help …"), "dim")))
        yield Keys(show_command_palette=False)

    def on_mount(self) -> None:
        self.call_after_refresh(self.run_worker, self._explain, thread=True)

    def on_why_screen_explained(self, message: Explained) -> None:
        document = message.document
        parts: list[RenderableType] = [*self._reasons(), Text()]
        if document.changes:
            parts.append(Text(_("Any one of these would let it in:"), "bold"))
        elif document.together:
            parts.append(Text(_("No single change would let it in; all of these would:"), "bold"))
        else:
            parts.append(Text(_("Nothing you could change would let it in."), "bold"))
        parts += [Text(f"· {change.message}") for change in document.changes or document.together]
        if document.variants:
            parts += [Text(), _variants(document)]
        self.query_one(Static).update(Group(*parts))

    def _reasons(self) -> list[RenderableType]:
        return [
            Text(_("Ruled out because it"), "bold"),
            *(Text(f"· {reason}") for reason in self._row.reasons),
        ]

    def _explain(self) -> None:
        from advisor.catalog import load_catalog
        from advisor.explain import explain
        from advisor.report.view import explanation_document

        model = next(each for each in load_catalog().models if each.id == self._row.model)
        target, workload = self._ranking.target, self._ranking.workload
        self.post_message(
            self.Explained(explanation_document(explain(model, None, target, workload), target, workload))
        )


def _variants(document: ExplanationDocument) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(_("quant"), no_wrap=True)
    for heading in (_("file"), _("memory"), _("tokens/s"), _("quality")):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column(_("ruled out by"))
    for variant in document.variants:
        words = dict.fromkeys(
            _(CONSTRAINTS.get(each.constraint, each.constraint)) for each in variant.shortfalls
        )
        table.add_row(
            variant.quant,
            amount(variant.file_bytes),
            "-" if variant.memory_bytes is None else amount(variant.memory_bytes),
            "-" if variant.tg_tokens_per_s is None else rate(variant.tg_tokens_per_s.low),
            "-" if variant.quality is None else f"{variant.quality:.1f}",
            _("fits") if variant.fits else ", ".join(words),
        )
    return table
