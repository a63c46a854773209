"""A stylesheet that parses each style once a theme.

Textual parses all styles again whenever a screen is first shown, and, from 64 widgets on, whenever one of a new kind
appears: 40 to 120 ms, in which no key is answered. What a style means changes with the theme's colours only.
"""

from __future__ import annotations

from textual.cache import LRUCache
from textual.css.stylesheet import Stylesheet

MOST = 1024  # styles; a kind of widget has one or two


class LastingStylesheet(Stylesheet):
    """Takes the place of an app's own stylesheet before anything is in it."""

    def __init__(self, *, variables: dict[str, str]) -> None:
        super().__init__(variables=variables)
        self._parse_cache = LRUCache(MOST)
        self._parsed_with: dict[str, str] | None = None

    def set_variables(self, variables: dict[str, str]) -> None:
        if variables != self._variables:
            super().set_variables(variables)

    def reparse(self) -> None:
        if self._parsed_with == self._variables:
            return  # `rules` parses what has come since
        super().reparse()
        self._parsed_with = dict(self._variables)
