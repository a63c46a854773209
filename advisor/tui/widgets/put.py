"""Text into a widget, with no more work than that: a key press must not lay the whole screen out again."""

from __future__ import annotations

from textual.widgets import Static


def put(static: Static, text: str, *, same_size: bool = False) -> None:
    """Show the text unless it is there already; `same_size`: the widget's size does not depend on it."""
    if static.content != text:
        static.update(text, layout=not same_size)
