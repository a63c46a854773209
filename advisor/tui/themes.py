"""Two themes, dark and light, and which of them suits the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from textual.theme import Theme

VARIABLE = "COLORFGBG"

DARK = Theme(
    name="advisor-dark",
    primary="#5fa8d3",
    secondary="#8fb8a8",
    accent="#e0a458",
    warning="#e0a458",
    error="#d9667b",
    success="#7fb685",
    foreground="#dcdfe4",
    background="#16191d",
    surface="#1d2126",
    panel="#272c33",
    dark=True,
)
LIGHT = Theme(
    name="advisor-light",
    primary="#1d5f8a",
    secondary="#2f6b57",
    accent="#9a5b00",
    warning="#9a5b00",
    error="#a8243f",
    success="#2c6e35",
    foreground="#1b1e22",
    background="#f7f7f5",
    surface="#ecedea",
    panel="#dfe1dd",
    dark=False,
)


def suitable(environment: Mapping[str, str]) -> str:
    """The theme for a terminal that says what its background is (COLORFGBG, "0;15"); dark for one that does not."""
    background = environment.get(VARIABLE, "").rpartition(";")[2]
    return LIGHT.name if background in ("7", "15") else DARK.name
