"""What a running test does just now: tokens a second with its course, memory, temperature."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Sparkline, Static

from advisor.language import _
from advisor.tui.work.watching import Watching
from profiles.text import amount, rate

KEPT = 120  # samples


class Live(Vertical):
    """A number, its course, and what the machine has to bear for it."""

    DEFAULT_CSS = """
    Live { height: auto; padding: 0 1; display: none; }
    Live.-on { display: block; }
    Live Horizontal { height: 1; }
    Live #rate { width: 24; text-style: bold; color: $success; }
    Live Sparkline { width: 1fr; height: 1; }
    Live #machine { height: 1; color: $text-muted; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._samples: list[float] = []
        self._test = ""
        self._peak = 0

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Static("", id="rate", markup=False)
            yield Sparkline([])
        yield Static("", id="machine", markup=False)

    def clear(self) -> None:
        """Begin with nothing to show yet."""
        self.add_class("-on")
        self._samples, self._test, self._peak = [], "", 0
        self.query_one("#rate", Static).update("")
        self.query_one("#machine", Static).update("")
        self.query_one(Sparkline).data = []

    def sample(self, test: str, tokens_per_s: float) -> None:
        """A rate; of another test than before, a new course begins."""
        if test != self._test:
            self._samples, self._test = [], test
        self._samples = [*self._samples, tokens_per_s][-KEPT:]
        self.query_one("#rate", Static).update(f"{rate(tokens_per_s)} {_('tokens/s')}")
        self.query_one(Sparkline).data = self._samples

    def watched(self, reading: Watching) -> None:
        """Memory, temperature and clock."""
        parts = []
        if reading.resident_bytes is not None:
            self._peak = max(self._peak, reading.resident_bytes)
            parts.append(
                _("memory {now}, peak {peak}").format(
                    now=amount(reading.resident_bytes), peak=amount(self._peak)
                )
            )
        parts.append(
            _("temperature not readable here")
            if reading.temperature_c is None
            else _("{degrees:.0f} °C").format(degrees=reading.temperature_c)
        )
        if reading.clock_hz is not None:
            parts.append(f"{reading.clock_hz / 1e9:.2f} GHz")
        self.query_one("#machine", Static).update("  ·  ".join(parts))
