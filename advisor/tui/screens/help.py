"""What a screen is for and which keys it has."""

from __future__ import annotations

from typing import ClassVar

from rich.table import Table
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

from advisor.language import _, marked
from advisor.tui.screens.base import Dialog, is_ours
from advisor.tui.widgets.keys import Keys

EVERYWHERE = (
    ("1 2 3 …", marked("go to a step")),
    ("n / b", marked("to the next step, or back")),
    ("tab", marked("to the next part of the screen")),
    ("^p", marked("every action by name")),
    ("^t", marked("light or dark")),
    ("^l", marked("English or Japanese")),
    ("q", marked("quit")),
)


class HelpScreen(Dialog):
    """The help of the screen below it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("question_mark,f1,q", "close", show=False)]
    DEFAULT_CSS = """
    HelpScreen .text { height: auto; margin-bottom: 1; }
    """

    def __init__(self, screen: Screen[object]) -> None:
        super().__init__()
        self._about = screen

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog") as scroll:
            scroll.border_title = _("Help")
            yield Static(_(getattr(self._about, "HELP", "")), classes="text", markup=False)
            yield Static(self._keys(), classes="keys")
        yield Keys(show_command_palette=False)

    def _keys(self) -> Table:
        table = Table.grid(padding=(0, 2))
        seen: set[str] = set()
        for active in self._about.active_bindings.values():
            binding = active.binding
            own = active.node is not self.app and is_ours(active)
            if binding.description and own and binding.action not in seen:
                seen.add(binding.action)
                table.add_row(self.app.get_key_display(binding), binding.description)
        table.add_row("", "")
        for key, what in EVERYWHERE:
            table.add_row(key, _(what))
        return table
