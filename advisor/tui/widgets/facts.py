"""A device's facts as a table: what, how much, and where that was read."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text
from textual import events
from textual.widgets import Static

from advisor.language import _
from advisor.report.device_facts import facts, origin
from advisor.sentences import translated
from profiles.device import Device

ROOM = 56  # cells; in fewer, sources would leave the facts themselves too little


class Facts(Static):
    """Every known fact with its source, where there is room for both."""

    DEFAULT_CSS = """
    Facts { height: auto; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._device: Device | None = None
        self._sourced = True

    def on_resize(self, event: events.Resize) -> None:
        if self._sourced != (sourced := event.size.width >= ROOM):
            self._sourced = sourced
            if self._device is not None:
                self.tell(self._device)

    def tell(self, device: Device) -> None:
        """Show this device."""
        self._device = device
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        table.add_column(no_wrap=True)
        table.add_column(ratio=1, overflow="fold")
        if self._sourced:
            table.add_column(justify="right", no_wrap=True)
        for fact in facts(device):
            if fact.value is None:
                continue
            source = device.sources.get(fact.path, "")
            cells = [Text(_(fact.label), "dim"), Text(fact.value)]
            if self._sourced:
                cells.append(Text(_(origin(source)) if source else "", "dim italic"))
            table.add_row(*cells)
        self.update(table)


class Notes(Static):
    """What is missing of a device, and what to know about it."""

    DEFAULT_CSS = """
    Notes { height: auto; }
    """

    def tell(self, device: Device) -> None:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column()
        for note in device.notes:
            table.add_row(Text(note.field or "-", "dim"), Text(translated(note.message)))
        self.update(table)
        self.display = bool(device.notes)
