"""The stages of a build as rows: what each will take, how far it is, its rate and the time left."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text
from textual.widgets import Static

from advisor.language import _
from advisor.preflight import Preflight, Span
from advisor.report.build_report import STAGES
from profiles.text import amount, seconds
from quantize.build_steps import Progress, Stage

BAR = 16  # cells; half of it where the terminal is small


class Stages(Static):
    """Told of a plan first, then of its progress."""

    DEFAULT_CSS = """
    Stages { height: auto; }
    """

    def __init__(self) -> None:
        super().__init__("", id="stages")
        self._needs: Preflight | None = None
        self._stages: list[Stage] = []
        self._last: dict[Stage, Progress] = {}
        self._now: Stage | None = None

    def plan(self, needs: Preflight | None) -> None:
        """Show what the stages need; None shows nothing."""
        self._needs, self._last, self._now = needs, {}, None
        self._stages = [] if needs is None else [need.stage for need in needs.stages]
        if "quantize" in self._stages:
            self._stages.insert(self._stages.index("quantize") + 1, "check")
        self.draw()

    def begin(self) -> None:
        """The build starts: nothing is done yet."""
        self._last, self._now = {}, None
        self.draw()

    def progress(self, progress: Progress) -> None:
        """One of the stages goes on, or the next begins."""
        stage = progress.stage
        if stage == "done":
            self._now = None
        else:
            if stage not in self._stages:  # such as the converter, where it is not installed yet
                here = 1 + self._stages.index(self._now) if self._now in self._stages else 0
                self._stages.insert(here, stage)
            self._now = stage
            self._last[stage] = progress
        self.draw()

    def go_on_from(self, other: Stages) -> None:
        """Show what another one showed, in whose place this one is."""
        self._needs, self._stages, self._last, self._now = (
            other._needs,
            other._stages,
            other._last,
            other._now,
        )
        self.draw()

    def draw(self) -> None:
        """Show it anew, in the language and width of now."""
        if self._needs is None:
            self.update("")
            return
        spans = {need.stage: need for need in self._needs.stages}
        table = Table.grid(padding=(0, 1, 0, 0))
        running = bool(self._last)
        for stage in self._stages:
            progress, need = self._last.get(stage), spans.get(stage)
            mark = "·" if progress is None else "▸" if stage == self._now else "✓"
            name = Text(_(STAGES[stage]), "bold" if mark == "▸" else "" if progress else "dim")
            if running:
                table.add_row(mark, name, self._bar(stage, progress), Text(self._rest(stage, progress)))
            elif need is not None:
                table.add_row(mark, name, _span(need.seconds), Text(amount(need.memory_bytes), "dim"))
            else:
                table.add_row(mark, name, "", "")
        if not running:
            table.add_row("", Text(_("together"), "bold"), _span(self._needs.seconds), "")
        self.update(table)

    def _bar(self, stage: Stage, progress: Progress | None) -> Text:
        width = BAR if self.app.size.width >= 76 else BAR // 2
        share = 0.0
        if progress is not None:
            if stage != self._now:
                share = 1.0
            elif progress.total:
                share = min(progress.done / progress.total, 1.0)
        full = round(share * width)
        return Text("█" * full + "░" * (width - full))

    def _rest(self, stage: Stage, progress: Progress | None) -> str:
        """How far, how fast and how long still."""
        if progress is None:
            return ""
        if stage != self._now:
            return seconds(progress.seconds)
        parts: list[str] = []
        rate = progress.done / progress.seconds if progress.done and progress.seconds > 0.5 else None
        size = amount if progress.unit == "bytes" else str
        if progress.total:
            parts.append(f"{min(progress.done / progress.total, 1):.0%}")
            if progress.unit != "bytes":
                parts.append(f"{progress.done}/{progress.total}")
        elif progress.done:
            parts.append(size(progress.done))
        if rate is not None:
            if progress.unit == "bytes":
                parts.append(f"{amount(rate)}/s")
            if progress.total:
                left = max(progress.total - progress.done, 0) / rate
                parts.append(_("{time} left").format(time=seconds(left)))
        return "  ".join(parts)


def _span(span: Span | None) -> str:
    if span is None:
        return _("not known before")
    return f"{seconds(span.value)} ({seconds(span.low)} – {seconds(span.high)})"
