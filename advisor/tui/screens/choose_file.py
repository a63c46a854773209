"""Choosing a file or a folder by its path, which is completed while it is typed."""

from __future__ import annotations

from collections.abc import Callable
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
            folder = _path(typed)
            if self._folders and typed.strip() and _is(folder.is_dir):
                self.dismiss(str(folder))
            else:
                self._take(typed)

    def _take(self, text: str) -> None:
        path = _path(text)
        if _is(path.is_dir):
            self._put(f"{str(path).rstrip('/')}/")
        elif _is(path.is_file):
            self.dismiss(str(path))
        else:
            self._say(_("{path} is not there.").format(path=text))

    def _say(self, words: str) -> None:
        self.query_one("#problem", Static).update(words)

    def _put(self, text: str) -> None:
        field = self.query_one(Input)
        field.value = text
        field.cursor_position = len(text)

    def fill(self, text: str) -> None:
        options = self.query_one(OptionList)
        options.clear_options()
        self._say("")
        if not text.strip():
            options.add_options([Option(path, path) for path in self._offered])
        else:
            self._list(text, options)
        whole = _is(_path(text).is_file)
        options.highlighted = 0 if options.option_count and (whole or not text.strip()) else None

    def _list(self, typed: str, options: OptionList) -> None:
        """What begins with the text: folders first, and files with one of the endings."""
        folder, slash, start = typed.rpartition("/")
        here = _path(folder + slash if slash else ".")
        found: list[tuple[bool, str, Path]] = []
        try:
            for path in here.iterdir():
                name = path.name
                if not name.startswith(start) or (name.startswith(".") and not start.startswith(".")):
                    continue
                if _is(path.is_dir):
                    found.append((False, name, path))
                elif name.lower().endswith(self._endings) and _is(path.is_file):  # no link to what is gone
                    found.append((True, name, path))
        except (OSError, ValueError) as error:  # ValueError: what was pasted is no path
            self._say(translated(f"{here}: {getattr(error, 'strerror', None) or error}"))
            return
        for is_file, name, path in sorted(found)[:SHOWN]:
            shown = f"{folder}{slash}{name}"
            if is_file:
                options.add_option(Option(f"{name}  {amount(path.stat().st_size)}", shown))
            else:
                options.add_option(Option(f"{name}/", f"{shown}/"))
        if not found and not start:
            self._say(_("There is nothing in this folder to choose."))


def _path(text: str) -> Path:
    """What was typed; a home that nobody has is a name like any other."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def _is(kind: Callable[[], bool]) -> bool:
    """Whether `is_file` or `is_dir`: what is too long for a path or may not be looked at is neither."""
    try:
        return kind()
    except OSError:
        return False
