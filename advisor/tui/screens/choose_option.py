"""All answers to one question of the need, each with the number of models that it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.cells import set_cell_size
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option as Line

from advisor.errors import AdvisorError
from advisor.language import _, marked, plural
from advisor.sentences import translated
from advisor.tui.questions import Question, answered
from advisor.tui.screens.picker import Picker
from advisor.tui.widgets.keys import Keys
from advisor.tui.work.ranking import count


class ChooseOption(Picker):
    """Gives the chosen value in a tuple, None for none."""

    HELP = marked(
        "Every answer with the number of models it leaves; they are counted while you look. Enter takes the marked "
        "answer. Where a number is asked for you can type your own and press enter."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take", marked("Choose"), priority=True),
    ]
    DEFAULT_CSS = """
    ChooseOption OptionList { height: auto; max-height: 16; }
    ChooseOption #hint { color: $text-muted; height: auto; max-height: 3; margin-top: 1; }
    ChooseOption #problem { color: $error; height: auto; }
    """

    @dataclass
    class Counted(Message):
        """How many models one of the answers leaves."""

        place: int
        remaining: int | None

    def __init__(self, question: Question) -> None:
        super().__init__()
        self._question = question
        self._counts: dict[int, int | None] = {}

    def compose(self) -> ComposeResult:
        self._options = self._question.options(self.wizard.need)
        with Vertical(classes="dialog") as box:
            box.border_title = _(self._question.help)
            yield OptionList(markup=False)
            if self._question.read is not None:
                yield Input(placeholder=_("or type your own"), compact=True)
            yield Static("", id="hint", markup=False)
            yield Static("", id="problem", markup=False)
        yield Keys(show_command_palette=False)

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        options.add_options([Line(self._row(place)) for place in range(len(self._options))])
        value = getattr(self.wizard.need, self._question.field)
        options.highlighted = next((i for i, each in enumerate(self._options) if each.value == value), 0)
        for field in self.query(Input):
            field.focus()
        # Counting and drawing at once would hold up both.
        self.call_after_refresh(self.run_worker, self._count, thread=True, group="counting", exclusive=True)

    def on_choose_option_counted(self, message: Counted) -> None:
        self._counts[message.place] = message.remaining
        self.query_one(OptionList).replace_option_prompt_at_index(message.place, self._row(message.place))

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self.query_one("#hint", Static).update(self._options[event.option_index].hint)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss((self._options[event.option_index].value,))

    def action_take(self) -> None:
        if self._question.read is None:
            self._take_marked()
        else:
            self.after_typing(self._take)

    def _take_marked(self) -> None:
        self.dismiss((self._options[self.query_one(OptionList).highlighted or 0].value,))

    def _take(self, typed: str) -> None:
        typed = typed.strip()
        if not typed:
            self._take_marked()
            return
        assert self._question.read is not None
        try:
            value = self._question.read(typed)
            from advisor.need import workload_of

            workload_of(answered(self.wizard.need, self._question.field, value))
        except AdvisorError as error:
            self.query_one("#problem", Static).update(translated(str(error)))
        except ValueError:
            self.query_one("#problem", Static).update(_("'{text}' is not a number.").format(text=typed))
        else:
            self.dismiss((value,))

    def _row(self, place: int) -> str:
        width = 50 if self.app.size.width >= 76 else max(12, self.app.size.width - 26)
        label = set_cell_size(self._options[place].label, width)
        if place not in self._counts:
            return f"{label}    …"
        remaining = self._counts[place]
        if remaining is None:
            return f"{label}    -"
        return label + plural("{count:>5} model", "{count:>5} models", remaining).format(count=remaining)

    def _count(self) -> None:
        found, need = self.wizard.found, self.wizard.need
        if found is None:
            return
        for place, option in enumerate(self._options):
            if not self.is_attached:
                return
            self.post_message(
                self.Counted(
                    place,
                    count(found, answered(need, self._question.field, option.value), self.wizard.models),
                )
            )
