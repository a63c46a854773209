"""The first step: what the device is, another one in its place, and measuring this one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import HorizontalGroup, VerticalScroll
from textual.widget import Widget
from textual.widgets import Button, Static

from advisor.language import _, marked
from advisor.tui.screens.base import StepScreen
from advisor.tui.widgets.facts import Facts, Notes


class DeviceScreen(StepScreen):
    """What was found, with sources and what is missing."""

    STEP = "device"
    HELP = marked(
        "Everything that follows is worked out for the device shown here. It is the machine this program runs on, "
        "unless you choose another: one of the library, or one described in a file, which need not be in the room.\n\n"
        "The right column says where each fact is from. 'Budget now' is the memory that is free at this moment, "
        "'budget cleared' what would be free with other programs closed.\n\n"
        "Calibrating runs small made-up models for about a minute and downloads nothing. From then on the estimates "
        "fit this very machine instead of its data sheet."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "choose", marked("Other device")),
        Binding("f", "file", marked("Device file")),
        Binding("m", "here", marked("This machine"), show=False),
        Binding("k", "calibrate", marked("Calibrate")),
    ]
    DEFAULT_CSS = """
    DeviceScreen #name { padding: 0 1; text-style: bold; color: $primary; }
    DeviceScreen #problem { padding: 0 1; color: $error; display: none; }
    DeviceScreen #actions { padding: 0 1; height: auto; margin-bottom: 1; }
    DeviceScreen #actions Button { margin-right: 1; }
    DeviceScreen VerticalScroll { padding: 0 1; }
    DeviceScreen #missing { margin-top: 1; text-style: bold; display: none; }
    DeviceScreen.-wide Facts { max-width: 110; }
    DeviceScreen.-wide Notes { max-width: 110; }
    DeviceScreen.-flat #actions { display: none; }
    """

    def body(self) -> Iterable[Widget]:
        yield Static(_("Looking at this machine …"), id="name", markup=False)
        yield Static("", id="problem", markup=False)
        yield HorizontalGroup(
            Button(
                _("Next: what do you need?"), id="next", variant="primary", compact=True, action="app.go(1)"
            ),
            Button(_("Another device …"), id="choose", compact=True, action="screen.choose"),
            Button(_("Calibrate …"), id="calibrate", compact=True, action="screen.calibrate"),
            id="actions",
        )
        yield VerticalScroll(
            Facts(),
            Static(_("What is missing, and what to know"), id="missing", markup=False),
            Notes(),
            id="facts",
        )

    def show(self) -> None:
        app = self.wizard
        problem = self.query_one("#problem", Static)
        problem.display = app.problem is not None
        if app.problem is not None:
            near = (
                "  " + _("Near it: {names}").format(names=", ".join(app.problem.nearest))
                if app.problem.nearest
                else ""
            )
            problem.update(app.problem.message + near)
        if app.found is None:
            return
        device = app.found.device
        kind = _("this machine") if app.found.here else _("not this machine")
        self.query_one("#name", Static).update(f"{device.name or _('unnamed')}  ·  {kind}")
        self.query_one(Facts).tell(device)
        self.query_one("#missing").display = bool(device.notes)
        self.query_one(Notes).tell(device)
        self.query_one("#calibrate", Button).disabled = not app.found.here

    def action_choose(self) -> None:
        from advisor.tui.screens.choose_device import ChooseDevice

        self.app.push_screen(ChooseDevice(), self._chosen)

    def action_file(self) -> None:
        from advisor.tui.screens.choose_file import ChooseFile

        title = _("A device file (slm-advisor profile --json writes one)")
        self.app.push_screen(ChooseFile(title, (".json",)), self._chosen)

    def action_here(self) -> None:
        self.wizard.look_at(None)

    def action_calibrate(self) -> None:
        from advisor.tui.screens.calibrate import CalibrateScreen

        if self.wizard.found is None or not self.wizard.found.here:
            self.notify(
                _("Only this machine can be calibrated: press m to come back to it."), severity="warning"
            )
            return
        self.app.push_screen(CalibrateScreen())

    def _chosen(self, given: object) -> None:
        if isinstance(given, str):
            self.wizard.look_at(given or None)
