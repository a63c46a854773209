"""Choosing a file by its path, which is completed while it is typed."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Footer, Input, OptionList, Static
from textual.widgets.option_list import Option

from advisor.language import _, marked
from advisor.text import amount
from advisor.tui.screens.base import Dialog

SHOWN = 200


class ChooseFile(Dialog):
    """Gives the path of a file with one of the endings, None for none. `offered` are paths to begin with."""

    HELP = marked(
        "Type a path, or choose from the list: enter opens a folder and takes a file. The list shows what begins with "
        "what you typed."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take", marked("Open"), priority=True),
        Binding("tab", "complete", marked("Complete"), priority=True),
        Binding("down", "move(1)", marked("Down"), show=False, priority=True),
        Binding("up", "move(-1)", marked("Up"), show=False, priority=True),
    ]
    DEFAULT_CSS = """
    ChooseFile > .dialog { height: 80%; }
    ChooseFile OptionList { height: 1fr; }
    ChooseFile #problem { color: $error; height: auto; }
    """

    def __init__(self, title: str, endings: tuple[str, ...], offered: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._title, self._endings, self._offered = title, endings, offered

    _listed = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = self._title
            yield Input(value="" if self._offered else f"{Path.cwd()}/", compact=True)
            yield OptionList(markup=False)
            yield Static("", id="problem", markup=False)
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        self._show(self.query_one(Input).value)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._show(event.value)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self._take(event.option_id or "")

    def action_move(self, by: int) -> None:
        options = self.query_one(OptionList)
        if options.option_count:
            first = 0 if options.highlighted is None else options.highlighted + by
            options.highlighted = min(max(first, 0), options.option_count - 1)

    def action_complete(self) -> None:
        options = self.query_one(OptionList)
        if options.option_count:
            self._put(options.get_option_at_index(options.highlighted or 0).id or "")

    def action_take(self) -> None:
        typed = self.query_one(Input).value
        if typed != self._listed:  # enter came before the list followed
            self._show(typed)
        options = self.query_one(OptionList)
        if options.highlighted is not None:
            self._take(options.get_option_at_index(options.highlighted).id or "")
        else:
            self._take(typed)

    def _take(self, text: str) -> None:
        path = Path(text).expanduser()
        if path.is_dir():
            self._put(f"{str(path).rstrip('/')}/")
        elif path.is_file():
            self.dismiss(str(path))
        else:
            self.query_one("#problem", Static).update(_("{path} is not there.").format(path=text))

    def _put(self, text: str) -> None:
        field = self.query_one(Input)
        field.value = text
        field.cursor_position = len(text)

    def _show(self, typed: str) -> None:
        self._listed = typed
        options = self.query_one(OptionList)
        options.clear_options()
        self.query_one("#problem", Static).update("")
        if not typed.strip():
            options.add_options([Option(path, path) for path in self._offered])
        else:
            options.add_options(self._matching(typed))
        whole = Path(typed).expanduser().is_file()
        options.highlighted = 0 if options.option_count and (whole or not typed.strip()) else None

    def _matching(self, typed: str) -> list[Option]:
        folder, slash, start = typed.rpartition("/")
        here = Path(folder + slash if slash else ".").expanduser()
        found: list[tuple[bool, str, Path]] = []
        try:
            for path in here.iterdir():
                name = path.name
                if not name.startswith(start) or (name.startswith(".") and not start.startswith(".")):
                    continue
                if (folder_ := path.is_dir()) or name.lower().endswith(self._endings):
                    found.append((not folder_, name, path))
        except OSError as error:
            self.query_one("#problem", Static).update(f"{here}: {error.strerror or error}")
        lines = []
        for is_file, name, path in sorted(found)[:SHOWN]:
            shown = f"{folder}{slash}{name}"
            if is_file:
                lines.append(Option(f"{name}  {amount(path.stat().st_size)}", shown))
            else:
                lines.append(Option(f"{name}/", f"{shown}/"))
        return lines
