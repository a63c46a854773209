"""Text for people, laid out by rich: colour only on a terminal, 80 columns elsewhere."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

WIDTH = 80


def render(*parts: RenderableType) -> str:
    """Parts as text, coloured only when stdout is a terminal; at least 60 columns wide."""
    from rich.console import Console

    terminal = sys.stdout is not None and sys.stdout.isatty()
    buffer = io.StringIO()
    console: Console = Console(
        file=buffer,
        force_terminal=terminal,
        width=None if terminal else WIDTH,
        highlight=False,
        emoji=False,
        markup=False,
    )
    for part in parts:
        console.print(part)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"
