"""The second step: what it is for, and what it must be able to do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.events import DescendantFocus
from textual.widget import Widget
from textual.widgets import Static

from advisor.language import _, marked
from advisor.need import Need, command_of
from advisor.tui.questions import QUESTIONS, Question, answered
from advisor.tui.screens.base import StepScreen
from advisor.tui.widgets.choice import Choice
from advisor.tui.widgets.put import put
from advisor.tui.widgets.remaining import Remaining


class NeedScreen(StepScreen):
    """A question a line; below, or beside them, what each answer leaves."""

    STEP = "need"
    HELP = marked(
        "One line a question. The arrows left and right change the answer, enter lists all of them with the number of "
        "models that each leaves; there you can also type your own.\n\n"
        "What you leave to the task follows the task when you change it. Words are English ones, 0.75 to a token; "
        "other languages need more tokens for the same text.\n\n"
        "The limits are held against the unfavourable ends of the estimates: the most memory, the slowest speed."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "app.focus_next", marked("Next question"), show=False),
        Binding("up,k", "app.focus_previous", marked("Question before"), show=False),
        Binding("r", "reset", marked("Start over")),
    ]
    DEFAULT_CSS = """
    NeedScreen #form { height: auto; padding-top: 1; }
    NeedScreen #hint { height: 2; padding: 0 2; color: $text-muted; }
    NeedScreen #problem { padding: 0 2; color: $error; height: auto; display: none; }
    NeedScreen #command { padding: 0 1; color: $text-muted; height: auto; margin-top: 1; }
    NeedScreen #sides { layout: vertical; height: 1fr; overflow-y: auto; }
    NeedScreen #left { height: auto; }
    NeedScreen #right { height: auto; border-top: solid $panel; }
    NeedScreen.-wide #sides { layout: horizontal; }
    NeedScreen.-wide #left { width: 3fr; height: 1fr; }
    NeedScreen.-wide #right { width: 2fr; height: 1fr; border-top: none; border-left: solid $panel; padding-top: 1; }
    """

    def body(self) -> Iterable[Widget]:
        form = [Choice[object](_(question.label), id=question.field) for question in QUESTIONS]
        yield Container(
            Vertical(
                Vertical(*form, id="form"),
                Static("", id="hint", markup=False),
                Static("", id="problem", markup=False),
                id="left",
            ),
            VerticalScroll(Remaining(), Static("", id="command", markup=False), id="right", can_focus=False),
            id="sides",
        )

    def show(self) -> None:
        app = self.wizard
        for question in QUESTIONS:
            choice = self.query_one(f"#{question.field}", Choice)
            choice.tell(question.options(app.need), getattr(app.need, question.field))
        self._hint()
        problem = self.query_one("#problem", Static)
        problem.display = app.problem is not None
        put(problem, "" if app.problem is None else app.problem.message)
        if app.ranking is not None and app.problem is None:
            self.query_one(Remaining).tell(app.ranking, best=8 if self.size.height > 30 else 3)
        given = None if app.found is None else app.found.given
        put(self.query_one("#command", Static), f"$ {command_of(app.need, given)}")

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        self._hint()

    def on_choice_changed(self, event: Choice.Changed) -> None:
        self.wizard.need = answered(self.wizard.need, event.choice.id or "", event.value)

    def on_choice_opened(self, event: Choice.Opened) -> None:
        from advisor.tui.screens.choose_languages import ChooseLanguages
        from advisor.tui.screens.choose_option import ChooseOption

        question = next(each for each in QUESTIONS if each.field == event.choice.id)
        dialog = (
            ChooseLanguages(self.wizard.need.languages)
            if question.field == "languages"
            else ChooseOption(question)
        )

        def take(value: object, question: Question = question) -> None:
            if value is not None:
                self.wizard.need = answered(self.wizard.need, question.field, value[0])  # type: ignore[index]

        self.app.push_screen(dialog, take)

    def action_reset(self) -> None:
        self.wizard.need = Need(offline=self.wizard.need.offline)

    def _hint(self) -> None:
        focused = self.focused
        hint = focused.hint if isinstance(focused, Choice) else ""
        put(self.query_one("#hint", Static), hint, same_size=True)
