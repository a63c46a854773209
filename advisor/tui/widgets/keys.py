"""The keys below a screen."""

from __future__ import annotations

from typing import Any

from textual.screen import Screen
from textual.widgets import Footer


class Keys(Footer):
    """Textual's footer, made anew only where its keys are others than before.

    Textual does so whenever a screen is gone back to or a widget takes the keys: 10 to 25 ms each time.
    """

    def __init__(self, *, show_command_palette: bool = True) -> None:
        super().__init__(show_command_palette=show_command_palette, compact=True)
        self._made_of: list[tuple[str, str, str, bool]] | None = None

    def bindings_changed(self, screen: Screen[Any]) -> None:
        made_of = [
            (active.binding.key, active.binding.action, active.binding.description, active.enabled)
            for active in screen.active_bindings.values()
            if active.binding.show
        ]
        if made_of != self._made_of:
            super().bindings_changed(screen)
            # Without the terminal's focus nothing was made.
            self._made_of = made_of if screen.app.app_focus else None
