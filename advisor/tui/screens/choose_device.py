"""Choosing a device of the library by typing a part of its name."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import set_cell_size
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from advisor.language import _, marked, plural
from advisor.tui.screens.picker import Search
from advisor.tui.widgets.keys import Keys
from profiles.entry import Entry

SHOWN = 200  # of what fits; who needs more types another letter


class ChooseDevice(Search):
    """Gives the name that was chosen, "" for this machine, None for none."""

    HELP = marked(
        "Type any part of a name, a chip or a graphics card: 'pixel', 'snapdragon 8', 'rtx 4090'. A memory size in "
        "the name picks the variant ('Raspberry Pi 5 8GB'), and a host with a card can be written out: "
        "'Pi 5 8GB (AMD RX 7600)'."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take", marked("Choose"), priority=True),
        Binding("pagedown", "move(10)", marked("Down"), show=False, priority=True),
        Binding("pageup", "move(-10)", marked("Up"), show=False, priority=True),
    ]
    DEFAULT_CSS = """
    ChooseDevice > .dialog { height: 90%; }
    ChooseDevice OptionList { height: 1fr; }
    ChooseDevice #count { color: $text-muted; height: auto; }
    """

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = _("Choose a device")
            yield Input(placeholder=_("part of a name, a chip or a card"), compact=True)
            yield OptionList(markup=False)
            yield Static("", id="count", markup=False)
        yield Keys(show_command_palette=False)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_id)

    def action_take(self) -> None:
        self.after_typing(self._take)

    def _take(self, typed: str) -> None:
        options = self.query_one(OptionList)
        if options.highlighted is not None:
            self.dismiss(options.get_option_at_index(options.highlighted).id)
        elif typed.strip():
            self.dismiss(typed.strip())  # a host with its card, say: whoever looks it up knows more spellings

    def fill(self, text: str) -> None:
        from profiles.library import load_library, nearest, search

        name, library = text.strip(), load_library()
        found = search(name) if name else list(library.entries)
        meant = _meant(name) if name else []
        if len(meant) == 1:
            found = [*meant, *(entry for entry in found if entry is not meant[0])]
        count = plural("{count} device", "{count} devices", len(found)).format(count=len(found))
        fits = bool(found)
        if not fits and meant:
            count = _("Enter takes the name as it is typed.")
        elif not fits:
            count = _("Nothing in the library is called that.")
            found = [library.by_name[each.lower()] for each in nearest(name)]
            if found:
                count += " " + _("These are spelt like it.")
        lines = [line for entry in found for line in _lines(entry, name, typed=entry in meant)]
        if len(lines) > SHOWN:
            count += _(", the first {shown} shown").format(shown=SHOWN)
        if not name:
            lines.insert(0, Option(_("this machine"), ""))
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options(lines[:SHOWN])
        options.highlighted = 0 if fits else None
        self.query_one("#count", Static).update(count)


def _meant(name: str) -> list[Entry]:
    """The device that the text names, or the host and its card; none where it names none or several."""
    from profiles.errors import UnknownDeviceError
    from profiles.library import match

    try:
        found = match(name)
    except UnknownDeviceError:
        return []
    return [] if found is None else found[0]


def _lines(entry: Entry, name: str, *, typed: bool) -> list[Option]:
    """A line for each amount of memory that it is sold with, or for the one that the text asks for."""
    from profiles.names import read_name

    sizes, asked = entry.sizes_gb, read_name(name).sizes_gb
    if typed and asked and not set(asked) & set(sizes):
        return [Option(_row(entry, asked[0]), name)]  # fitted out by its owner
    if len(sizes) < 2:
        return [Option(_row(entry, *sizes), entry.name)]
    chosen = [size for size in sizes if size in asked] or sizes
    return [Option(_row(entry, size), f"{entry.name} {size:g}GB") for size in chosen]


def _row(entry: Entry, size_gb: float | None = None) -> str:
    memory = "?" if size_gb is None else f"{size_gb:g}"
    rate = f"{entry.bandwidth / 1e9:.4g} GB/s" if entry.bandwidth else "?"
    return f"{set_cell_size(entry.name, 31)} {entry.class_:<11} {memory + ' GB':>9} {rate:>10}"
