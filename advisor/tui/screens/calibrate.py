"""Measuring this machine, with each step as it happens."""

from __future__ import annotations

from typing import ClassVar

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import ProgressBar, Static

from advisor.language import _, marked
from advisor.sentences import translated
from advisor.tui.messages import CalibrationDone, CalibrationFailed, CalibrationStep
from advisor.tui.screens.base import Dialog
from advisor.tui.widgets.keys import Keys
from advisor.tui.work.calibrating import calibrate_here
from profiles.engine.stop import Stop
from profiles.text import rate

SHOWN = 6  # steps


class CalibrateScreen(Dialog):
    """Starts with enter, stops with escape; what was measured is used from then on."""

    HELP = marked(
        "Small made-up models are written, loaded and timed, the most telling first. Close what uses the processor: "
        "other programs' work would be taken for a slow machine, so a busy machine is refused. Nothing is downloaded."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "start", marked("Start")),
        Binding("escape", "close", marked("Stop or close")),
    ]
    DEFAULT_CSS = """
    CalibrateScreen Static { height: auto; }
    CalibrateScreen ProgressBar { margin: 1 0; width: 1fr; }
    CalibrateScreen Bar { width: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._stop: Stop | None = None
        self._steps: list[str] = []

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog") as scroll:
            scroll.border_title = _("Calibrate this machine")
            yield Static(
                _(self.HELP) + "\n\n" + _("Enter starts; it takes a minute at most."), id="text", markup=False
            )
            yield ProgressBar(total=None, show_eta=False, id="bar")
        yield Keys(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one("#bar").display = False

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self._stop is None if action == "start" else True

    def action_start(self) -> None:
        found = self.wizard.found
        if found is None or self._stop is not None:
            return
        stop = self._stop = Stop()
        self._steps = []
        self.query_one("#bar").display = True
        self._tell(_("starting …"))
        self.run_worker(
            lambda: calibrate_here(found.device, stop, True, self.post_message),
            thread=True,
            group="calibrating",
        )
        self.refresh_bindings()

    def action_close(self) -> None:
        if self._stop is None:
            self.dismiss(None)
        else:
            self._tell(_("stopping …"))
            self._stop()

    def on_unmount(self) -> None:
        if self._stop is not None:
            self._stop()

    def on_calibration_step(self, message: CalibrationStep) -> None:
        step = message.step
        self.query_one("#bar", ProgressBar).update(
            total=step.elapsed_s + step.left_s, progress=step.elapsed_s
        )
        line = _("{seconds:3.0f} s  {what}").format(seconds=step.elapsed_s, what=translated(step.what))
        if not self._steps or self._steps[-1] != line:
            self._steps.append(line)
        self._tell("\n".join(self._steps[-SHOWN:]))

    def on_calibration_failed(self, message: CalibrationFailed) -> None:
        self._end()
        if message.problem is None:
            self._tell(_("Stopped: nothing is kept. Enter starts again."))
        else:
            self._tell(f"{message.problem.message}\n\n" + _("Enter tries again, escape closes."))

    def on_calibration_done(self, message: CalibrationDone) -> None:
        self._end()
        document = message.document
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column(_("tokens/s"))
        table.add_column(_("before"), justify="right")
        table.add_column(_("calibrated"), justify="right")
        for effect in document.effect:
            table.add_row(
                f"{effect.model}:{effect.quant} ({effect.backend})",
                f"{rate(effect.tg_before.value)} ({rate(effect.tg_before.low)}-{rate(effect.tg_before.high)})",
                f"{rate(effect.tg_after.value)} ({rate(effect.tg_after.low)}-{rate(effect.tg_after.high)})",
            )
        done = Text(
            _("Done in {seconds:.0f} s. Estimates fit this machine from now on.").format(
                seconds=document.calibration.seconds
            ),
            "bold",
        )
        notes = [
            Text(f"· {translated(note)}", "dim")
            for note in (*document.calibration.noise, *document.calibration.notes)
        ]
        self.query_one("#text", Static).update(
            Group(
                done,
                Text(),
                table,
                Text(),
                *notes,
                Text(_("Kept in {path}").format(path=document.path), "dim"),
            )
        )
        self.wizard.look_at(None)

    def _end(self) -> None:
        self._stop = None
        self.query_one("#bar").display = False
        self.refresh_bindings()

    def _tell(self, text: str) -> None:
        self.query_one("#text", Static).update(text)
