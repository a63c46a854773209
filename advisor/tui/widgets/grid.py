"""A table of rows that are drawn when they are looked at: sorting hundreds of them costs a key press nothing.

Columns stand in cells, not characters, so that wide letters line up. What is too wide is reached by scrolling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from advisor.language import _, marked

Row = TypeVar("Row")


@dataclass(frozen=True)
class Column(Generic[Row]):
    """One column: its heading, width in cells, what it shows and what it is sorted by.

    `order` gives None for a row that has nothing to sort by: such rows come last either way. `best_first` says
    that the first press sorts downwards. A column that may `grow` takes the room that is left.
    """

    id: str
    title: str
    width: int
    cell: Callable[[Row], str]
    order: Callable[[Row], Any] | None = None
    right: bool = False
    best_first: bool = False
    grow: bool = False
    style: Callable[[Row], str] | None = None


class Grid(ScrollView, Generic[Row], can_focus=True):
    """Rows under headings, one of them under the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home,g", "end(0)", show=False),
        Binding("end,G", "end(1)", show=False),
        Binding("left", "sideways(-8)", marked("More columns"), show=False),
        Binding("right", "sideways(8)", marked("More columns"), show=False),
        Binding("enter", "take", marked("More")),
        Binding("s", "sort", marked("Sort")),
        Binding("S", "turn", marked("Sort the other way"), show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "grid--head",
        "grid--cursor",
        "grid--cursor-dim",
        "grid--marked",
        "grid--dim",
        "grid--good",
    }
    DEFAULT_CSS = """
    Grid { height: 1fr; background: $background; scrollbar-size-horizontal: 0; }
    Grid .grid--head { text-style: bold; color: $primary; background: $panel; }
    Grid .grid--cursor { background: $primary; color: $background; text-style: bold; }
    Grid .grid--cursor-dim { background: $primary 30%; text-style: bold; }
    Grid .grid--marked { color: $accent; text-style: bold; }
    Grid .grid--dim { color: $text-muted; }
    Grid .grid--good { color: $success; }
    """

    cursor: reactive[int] = reactive(0, repaint=True)

    @dataclass
    class Highlighted(Message):
        """The cursor is on another row."""

        grid: Grid[Any]
        row: Any

    @dataclass
    class Taken(Message):
        """A row was chosen, by enter or a double click."""

        grid: Grid[Any]
        row: Any

    @dataclass
    class Sorted(Message):
        """The rows are in another order."""

        grid: Grid[Any]

    def __init__(
        self,
        columns: Sequence[Column[Row]],
        *,
        key: Callable[[Row], str],
        id: str | None = None,  # noqa: A002 - as every widget has it
    ) -> None:
        super().__init__(id=id)
        self._columns = tuple(columns)
        self._key = key
        self._all: tuple[Row, ...] = ()
        self.rows: list[Row] = []
        self.sorted_by: str | None = None
        self.downwards = False
        self.marks: list[str] = []  # keys of rows

    # --- what is shown ----------------------------------------------------------------------------------------

    def tell(self, rows: Sequence[Row], *, cursor: str | None = None) -> None:
        """Show these rows, in the order chosen before; the cursor goes to the row with that key."""
        keep = cursor if cursor is not None else self.key
        self._all = tuple(rows)
        self._arrange(keep)

    def sort_by(self, column: str | None, *, downwards: bool = False) -> None:
        """Sort by a column; None is the order in which the rows came."""
        keep = self.key
        self.sorted_by, self.downwards = column, downwards
        self._arrange(keep)
        self.post_message(self.Sorted(self))

    @property
    def row(self) -> Row | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if 0 <= self.cursor < len(self.rows) else None

    @property
    def key(self) -> str | None:
        """The key of the row under the cursor."""
        return None if self.row is None else self._key(self.row)

    def toggle_mark(self, most: int) -> bool:
        """Mark the row under the cursor, or take its mark away; False where there are enough marks."""
        key = self.key
        if key is None:
            return False
        if key in self.marks:
            self.marks.remove(key)
        elif len(self.marks) >= most:
            return False
        else:
            self.marks.append(key)
        self.refresh()
        return True

    def _arrange(self, keep: str | None) -> None:
        column = next((each for each in self._columns if each.id == self.sorted_by), None)
        if column is None or column.order is None:
            self.rows = list(self._all)
            if self.downwards:
                self.rows.reverse()
        else:
            order = column.order
            known = [row for row in self._all if order(row) is not None]
            known.sort(key=order, reverse=self.downwards)
            self.rows = known + [row for row in self._all if order(row) is None]
        keys = [self._key(row) for row in self.rows]
        self._measure()
        place = keys.index(keep) if keep in keys else 0
        if place == self.cursor:
            self._reveal()
        self.cursor = place
        self.refresh()

    def _measure(self) -> None:
        room = self.size.width - sum(column.width + 1 for column in self._columns)
        growing = [column for column in self._columns if column.grow]
        extra = min(24, max(0, room) // max(1, len(growing)))
        self._widths = [column.width + (extra if column.grow else 0) for column in self._columns]
        self.virtual_size = Size(sum(self._widths) + len(self._widths), len(self.rows) + 1)

    _widths: list[int] = []  # noqa: RUF012 - made anew, never changed

    def on_resize(self) -> None:
        self._measure()
        self._reveal()

    def watch_cursor(self) -> None:
        self._reveal()
        if self.row is not None:
            self.post_message(self.Highlighted(self, self.row))

    def _reveal(self) -> None:
        lines = self.scrollable_content_region.height - 1  # without the headings
        if lines < 1:
            return
        top = round(self.scroll_y)
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, immediate=True)
        elif self.cursor >= top + lines:
            self.scroll_to(y=self.cursor - lines + 1, animate=False, immediate=True)

    def render_line(self, y: int) -> Strip:
        scroll_x, scroll_y = self.scroll_offset
        width = self.scrollable_content_region.width
        if y == 0:
            strip = self._head()
        else:
            place = scroll_y + y - 1
            if place >= len(self.rows):
                return Strip.blank(self.size.width, self.rich_style)
            strip = self._line(place)
        return strip.crop_extend(scroll_x, scroll_x + width, self._base(y, scroll_y))

    def _base(self, y: int, scroll_y: int) -> Style:
        if y == 0:
            return self.get_component_rich_style("grid--head")
        if scroll_y + y - 1 == self.cursor:
            return self.get_component_rich_style("grid--cursor" if self.has_focus else "grid--cursor-dim")
        return self.rich_style

    def _head(self) -> Strip:
        style = self.get_component_rich_style("grid--head")
        segments = []
        for column, width in zip(self._columns, self._widths, strict=True):
            title = _(column.title)
            if column.id == self.sorted_by:
                title += "▼" if self.downwards else "▲"
            segments.append(Segment(_fit(title, width, column.right) + " ", style))
        return Strip(segments)

    def _line(self, place: int) -> Strip:
        row = self.rows[place]
        base = self._base(1, place)
        plain = place != self.cursor
        segments = []
        for column, width in zip(self._columns, self._widths, strict=True):
            style = base
            if plain and column.style is not None and (name := column.style(row)):
                style = base + self.get_component_rich_style(f"grid--{name}", partial=True)
            segments.append(Segment(_fit(column.cell(row), width, column.right), style))
            segments.append(Segment(" ", base))
        return Strip(segments)

    # --- keys and mouse ---------------------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        if self.rows:
            self.cursor = min(max(self.cursor + by, 0), len(self.rows) - 1)

    def action_page(self, by: int) -> None:
        self.action_move(by * max(1, self.size.height - 2))

    def action_end(self, end: int) -> None:
        self.action_move(len(self.rows) if end else -len(self.rows))

    def action_sideways(self, by: int) -> None:
        self.scroll_relative(x=by, animate=False)

    def action_take(self) -> None:
        if self.row is not None:
            self.post_message(self.Taken(self, self.row))

    def action_sort(self) -> None:
        """By the next column that has an order; after the last, as the rows came."""
        columns = [column for column in self._columns if column.order is not None]
        ids = [column.id for column in columns]
        place = ids.index(self.sorted_by) + 1 if self.sorted_by in ids else 0
        if place < len(columns):
            self.sort_by(columns[place].id, downwards=columns[place].best_first)
        else:
            self.sort_by(None)

    def action_turn(self) -> None:
        self.sort_by(self.sorted_by, downwards=not self.downwards)

    def on_click(self, event: events.Click) -> None:
        if event.y == 0:
            self._click_head(event.x + self.scroll_offset.x)
            return
        place = self.scroll_offset.y + event.y - 1
        if place < len(self.rows):
            self.cursor = place
            if event.chain == 2:
                self.action_take()

    def _click_head(self, x: int) -> None:
        start = 0
        for column, width in zip(self._columns, self._widths, strict=True):
            if start <= x < start + width + 1 and column.order is not None:
                again = column.id == self.sorted_by
                self.sort_by(column.id, downwards=not self.downwards if again else column.best_first)
                return
            start += width + 1


def _fit(text: str, width: int, right: bool) -> str:
    """Text in exactly that many cells; what is cut off leaves an ellipsis."""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + "…"
    return " " * (width - length) + text if right else text + " " * (width - length)
