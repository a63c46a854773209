"""Dialogs that choose from a list with the arrow keys while the cursor stays in a field to type into."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import Input, OptionList

from advisor.language import marked
from advisor.tui.screens.base import Dialog


class Picker(Dialog):
    """A list, and perhaps a field above or below it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "move(1)", marked("Down"), show=False, priority=True),
        Binding("up", "move(-1)", marked("Up"), show=False, priority=True),
    ]

    def action_move(self, by: int) -> None:
        options = self.query_one(OptionList)
        if options.option_count:
            place = 0 if options.highlighted is None else options.highlighted + by
            options.highlighted = min(max(place, 0), options.option_count - 1)

    def after_typing(self, then: Callable[[str], None]) -> None:
        """Call `then` with what is in the field, once the keys pressed before this one have reached it.

        A key with priority overtakes those that still wait for the field.
        """
        field = self.query_one(Input)
        field.call_later(lambda: then(field.value))


class Search(Picker):
    """A list that follows what is typed. `fill` lists what fits a text."""

    _listed = ""

    def fill(self, text: str) -> None:
        raise NotImplementedError

    def on_mount(self) -> None:
        self._follow(self.query_one(Input).value)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._follow(event.value)

    def after_typing(self, then: Callable[[str], None]) -> None:
        def settle(typed: str) -> None:
            if typed != self._listed:
                self._follow(typed)
            then(typed)

        super().after_typing(settle)

    def _follow(self, text: str) -> None:
        self._listed = text
        self.fill(text)
