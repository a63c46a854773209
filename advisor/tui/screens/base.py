"""What all screens share: descriptions of keys in the language in use, help, and the frame of a step."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding, BindingType
from textual.screen import ModalScreen, Screen
from textual.widget import Widget

from advisor.language import _, marked
from advisor.tui.widgets.keys import Keys
from advisor.tui.widgets.step_bar import StepBar

if TYPE_CHECKING:
    from advisor.tui.app import Wizard

BREAKPOINTS = [(0, "-tiny"), (60, "-narrow"), (110, "-wide")]
LINES = [(0, "-flat"), (16, "-low"), (32, "-high")]


def translated(bindings: dict[str, ActiveBinding]) -> dict[str, ActiveBinding]:
    """The same keys with descriptions in the language in use."""
    found = {}
    for key, active in bindings.items():
        binding = active.binding
        words = marked("All") if binding.action == "command_palette" else binding.description
        found[key] = active._replace(binding=dataclasses.replace(binding, description=_(words)))
    return found


def is_ours(active: ActiveBinding) -> bool:
    """Whether the wizard gives the key its meaning: Textual's own, for scrolling and editing, need no mention."""
    for kind in type(active.node).__mro__:
        bindings = Binding.make_bindings(kind.__dict__.get("BINDINGS", ()))
        if any(binding.action == active.binding.action for binding in bindings):
            return not kind.__module__.startswith("textual.")
    return False


class WizardScreen(Screen[Any]):
    """What steps and dialogs have in common."""

    HELP: ClassVar[str] = ""
    HORIZONTAL_BREAKPOINTS = BREAKPOINTS
    VERTICAL_BREAKPOINTS = LINES

    @property
    def wizard(self) -> Wizard:
        """The program, with what it knows."""
        return cast("Wizard", self.app)

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        return translated(super().active_bindings)


class StepScreen(WizardScreen):
    """A step: the bar above, its own widgets, the keys below. `show` puts what is known into the widgets."""

    STEP: ClassVar[str]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "app.go(1)", marked("Next")),
        Binding("ctrl+n", "app.go(1)", marked("Next"), show=False, priority=True),
        Binding("b,escape", "app.go(-1)", marked("Back"), key_display="b", show=False),
    ]
    DEFAULT_CSS = """
    StepScreen.-tiny StepBar .name { display: none; }
    StepScreen.-flat StepBar { height: 1; }
    StepScreen.-flat StepBar .summary { display: none; }
    """

    def compose(self) -> ComposeResult:
        yield StepBar(self.STEP)
        yield from self.body()
        yield Keys()

    def body(self) -> Iterable[Widget]:
        """The widgets between bar and keys."""
        return ()

    def show(self) -> None:
        """Put what is known into the widgets; called whenever that changes and once they are there."""

    def on_mount(self) -> None:
        self.wizard.opened[self.STEP] = self
        self.wizard.summarize(self)
        self.show()

    async def retranslate(self) -> None:
        """Make the widgets again, in the language that is now in use."""
        focused = None if self.focused is None else self.focused.id
        await self.recompose()
        self.show()
        for widget in self.query(f"#{focused}") if focused else ():
            widget.focus()


class Dialog(WizardScreen, ModalScreen[Any]):
    """Something on top of a step that is closed with escape."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", marked("Close")),
        Binding("f1,question_mark", "app.help", marked("Help"), key_display="F1"),
    ]
    DEFAULT_CSS = """
    Dialog {
        align: center middle;
        background: $background 60%;
    }
    Dialog > .dialog {
        width: 90%;
        max-width: 92;
        height: auto;
        max-height: 90%;
        background: $surface;
        border: round $primary;
        border-title-color: $primary;
        padding: 0 1;
    }
    Dialog.-flat > .dialog, Dialog.-tiny > .dialog {
        width: 100%;
        max-height: 100%;
        border: none;
    }
    """

    def action_close(self) -> None:
        self.dismiss(None)
