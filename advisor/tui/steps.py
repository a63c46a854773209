"""The steps of the wizard, in their order. A step is a screen that opens when it is first gone to.

A further step is one line here: its place in the bar, its key and its way forth and back follow from that.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from textual.screen import Screen

from advisor.language import marked


class Step(NamedTuple):
    """One screen: how it is called inside, in the bar, and where its class is."""

    id: str
    title: str
    module: str
    screen: str

    def open(self) -> Screen[None]:
        """The screen, made now: none of the others need be imported to show the first."""
        made: Screen[None] = getattr(importlib.import_module(self.module), self.screen)()
        return made


STEPS = (
    Step("device", marked("Device"), "advisor.tui.screens.device", "DeviceScreen"),
    Step("need", marked("Need"), "advisor.tui.screens.need", "NeedScreen"),
    Step("models", marked("Models"), "advisor.tui.screens.models", "ModelsScreen"),
    Step("try", marked("Try"), "advisor.tui.screens.trial", "TrialScreen"),
    Step("build", marked("Build"), "advisor.tui.screens.build", "BuildScreen"),
    Step("export", marked("Export"), "advisor.tui.screens.export", "ExportScreen"),
)

OPENERS: dict[str, str | Callable[[], Screen[Any]]] = {step.id: step.open for step in STEPS}


def beside(step: str, by: int) -> str | None:
    """The step that many places on (or back, below 0); None past either end."""
    ids = [each.id for each in STEPS]
    place = ids.index(step) + by
    return ids[place] if 0 <= place < len(ids) else None
