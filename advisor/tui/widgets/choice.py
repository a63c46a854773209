"""One line of a form: a question, its answer, and arrows that step to the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widget import Widget

from advisor.language import marked

T = TypeVar("T")

LABEL_WIDTH = 24


@dataclass(frozen=True)
class Option(Generic[T]):
    """An answer: its value, and in words what it is and why one would take it."""

    value: T
    label: str
    hint: str = ""


class Choice(Widget, Generic[T], can_focus=True):
    """Left and right step through the answers, enter opens the whole list."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "by(-1)", marked("Change"), key_display="←→"),
        Binding("right", "by(1)", show=False),
        Binding("enter,space", "open", marked("All choices")),
    ]
    DEFAULT_CSS = """
    Choice { height: 1; width: 1fr; }
    Choice:focus { background: $primary 25%; text-style: bold; }
    Choice:hover { background: $primary 12%; }
    """

    @dataclass
    class Changed(Message):
        """Another answer was chosen."""

        choice: Choice[object]
        value: object

    @dataclass
    class Opened(Message):
        """The whole list is asked for."""

        choice: Choice[object]

    def __init__(self, label: str, *, id: str) -> None:  # noqa: A002 - as every widget has it
        super().__init__(id=id)
        self.label = label
        self.options: tuple[Option[T], ...] = ()
        self.value: T | None = None

    def tell(self, options: Sequence[Option[T]], value: T) -> None:
        """The answers there are, and the one that holds."""
        self.options, self.value = tuple(options), value
        self.refresh()

    @property
    def place(self) -> int:
        """Where the answer is in the list; 0 for one that is not in it."""
        return next((i for i, option in enumerate(self.options) if option.value == self.value), 0)

    @property
    def hint(self) -> str:
        """What there is to say of the answer that holds."""
        return self.options[self.place].hint if self.options else ""

    def render(self) -> Text:
        shown = self.options[self.place].label if self.options else "…"
        focused = self.has_focus
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append("▌" if focused else " ")
        text.append(
            set_cell_size(self.label, min(LABEL_WIDTH, max(10, self.size.width // 3))),
            "" if focused else "dim",
        )
        text.append(" ◂ ", "bold" if focused else "dim")
        text.append(shown)
        text.append(" ▸", "bold" if focused else "dim")
        self._arrow = text.cell_len - 2
        return text

    def action_by(self, by: int) -> None:
        if not self.options:
            return
        place = self.place + by
        if 0 <= place < len(self.options):
            self.post_message(self.Changed(self, self.options[place].value))  # type: ignore[arg-type]

    def action_open(self) -> None:
        self.post_message(self.Opened(self))  # type: ignore[arg-type]

    def on_click(self, event: events.Click) -> None:
        start = 1 + cell_len(set_cell_size(self.label, min(LABEL_WIDTH, max(10, self.size.width // 3))))
        if start <= event.x < start + 3:
            self.action_by(-1)
        elif self._arrow <= event.x < self._arrow + 3:
            self.action_by(1)
        else:
            self.action_open()

    _arrow = 0
