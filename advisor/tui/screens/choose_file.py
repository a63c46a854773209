"""Choosing a file or a folder by its path, which is completed while it is typed."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from advisor.language import _, marked
from advisor.sentences import translated
from advisor.tui.screens.picker import Search
from advisor.tui.widgets.keys import Keys
from profiles.text import amount

SHOWN = 200


class ChooseFile(Search):
    """Gives the path of a file with one of the endings, None for none. `offered` are paths to begin with.

    With `folders` the path may be that of a folder: enter takes what is typed, and opens what is marked.
    """

    HELP = marked(
        "Type a path, or choose from the list: enter opens a folder and takes a file. The list shows what begins with "
        "what you typed."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "take", marked("Open"), priority=True),
        Binding("tab", "complete", marked("Complete"), priority=True),
    ]
    DEFAULT_CSS = """
    ChooseFile > .dialog { height: 80%; }
    ChooseFile OptionList { height: 1fr; }
    ChooseFile #folders { color: $text-muted; height: auto; }
    ChooseFile #problem { color: $error; height: auto; }
    """

    def __init__(
        self, title: str, endings: tuple[str, ...], offered: tuple[str, ...] = (), *, folders: bool = False
    ) -> None:
        super().__init__()
        self._folders = folders
        self._title, self._endings, self._offered = title, endings, offered

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = self._title
            yield Input(value="" if self._offered else f"{Path.cwd()}/", compact=True)
            yield OptionList(markup=False)
            yield Static("", id="problem", markup=False)
            if self._folders:
                yield Static(
                    _("Enter takes the folder that is typed; down and enter open one of the list."),
                    id="folders",
                    markup=False,
                )
        yield Keys(show_command_palette=False)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self._take(event.option_id or "")

    def action_complete(self) -> None:
        self.after_typing(self._complete)

    def _complete(self, _typed: str) -> None:
        options = self.query_one(OptionList)
        if options.option_count:
            self._put(options.get_option_at_index(options.highlighted or 0).id or "")

    def action_take(self) -> None:
        self.after_typing(self._take_marked)

    def _take_marked(self, typed: str) -> None:
        options = self.query_one(OptionList)
        if options.highlighted is not None:
            self._take(options.get_option_at_index(options.highlighted).id or "")
        else:
            folder = Path(typed).expanduser()
            if self._folders and typed.strip() and folder.is_dir():
                self.dismiss(str(folder))
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

    def fill(self, text: str) -> None:
        options = self.query_one(OptionList)
        options.clear_options()
        self.query_one("#problem", Static).update("")
        if not text.strip():
            options.add_options([Option(path, path) for path in self._offered])
        else:
            options.add_options(self._matching(text))
        whole = Path(text).expanduser().is_file()
        options.highlighted = 0 if options.option_count and (whole or not text.strip()) else None

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
            self.query_one("#problem", Static).update(translated(f"{here}: {error.strerror or error}"))
        lines = []
        for is_file, name, path in sorted(found)[:SHOWN]:
            shown = f"{folder}{slash}{name}"
            if is_file:
                lines.append(Option(f"{name}  {amount(path.stat().st_size)}", shown))
            else:
                lines.append(Option(f"{name}/", f"{shown}/"))
        return lines
