"""The line at the top: the steps with the present one marked, and below it what has been chosen so far."""

from __future__ import annotations

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from advisor.language import _, plural
from advisor.tui.steps import STEPS
from advisor.tui.widgets.put import put


class StepTab(Static):
    """One step's name; a click goes there."""

    DEFAULT_CSS = """
    StepTab { width: auto; padding: 0 1; color: $text-muted; }
    StepTab:hover { background: $primary 20%; }
    StepTab.-here { background: $primary; color: $background; text-style: bold; }
    """

    def __init__(self, step: str, number: int, title: str, *, here: bool) -> None:
        # A mark besides the colour, for terminals without colours.
        self.short = self.label = f"{'▸' if here else ''}{number} {title}"
        if not here:
            self.short = f"{number}"
        super().__init__(self.label, id=f"tab-{step}", classes="-here" if here else "", markup=False)
        self._step = step

    async def on_click(self, event: events.Click) -> None:
        event.stop()
        await self.app.run_action(f"app.step('{self._step}')")


class StepBar(Vertical):
    """Where one is, and the choices made: device, task, how many models remain."""

    DEFAULT_CSS = """
    StepBar { dock: top; height: 2; background: $panel; }
    StepBar Horizontal { height: 1; }
    StepBar .name { width: auto; padding: 0 1; text-style: bold; color: $accent; }
    StepBar .summary { height: 1; padding: 0 1; background: $surface; color: $text-muted; }
    """

    def __init__(self, step: str) -> None:
        super().__init__()
        self._step = step

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Static("slm-advisor", classes="name", markup=False)
            for number, step in enumerate(STEPS, 1):
                yield StepTab(step.id, number, _(step.title), here=step.id == self._step)
        yield Static("", classes="summary", markup=False)

    def on_resize(self, event: events.Resize) -> None:
        """Where not all titles have room, the present step keeps its own."""
        tabs = self.query(StepTab)
        name = self.query_one(".name")
        needed = sum(cell_len(tab.label) + 2 for tab in tabs) + (13 if name.display else 0)
        for tab in tabs:
            put(tab, tab.label if needed <= event.size.width else tab.short)

    def tell(
        self, device: str | None, task: str, languages: tuple[str, ...], remaining: int | None, of: int
    ) -> None:
        """Say what has been chosen; None for what is not known yet."""
        parts = [device or _("looking at the device …")]
        parts.append(_(task) + (f" ({', '.join(languages)})" if languages else ""))
        if remaining is None:
            parts.append(_("ranking …"))
        else:
            parts.append(
                plural("{count} of {all} models fits", "{count} of {all} models fit", remaining).format(
                    count=remaining, all=of
                )
            )
        put(self.query_one(".summary", Static), "  ·  ".join(parts), same_size=True)
