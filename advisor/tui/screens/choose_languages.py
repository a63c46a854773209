"""Choosing languages, several of them, by typing a part of a name."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from advisor.language import _, marked
from advisor.languages import NAMES, language_name
from advisor.tui.questions import languages_in_words
from advisor.tui.screens.picker import Search
from advisor.tui.widgets.keys import Keys


class ChooseLanguages(Search):
    """Gives the chosen codes in a tuple of one, None for no change."""

    HELP = marked(
        "Type a part of a language's name or its code. Enter adds or removes the marked language, escape keeps what is "
        "chosen. A model must know all of them."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "change", marked("Add or remove"), priority=True),
        Binding("escape", "close", marked("Done")),
    ]
    DEFAULT_CSS = """
    ChooseLanguages OptionList { height: 14; }
    ChooseLanguages #chosen { height: auto; text-style: bold; }
    """

    def __init__(self, codes: tuple[str, ...]) -> None:
        super().__init__()
        self._codes = list(codes)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = _("Which languages must it know?")
            yield Static("", id="chosen", markup=False)
            yield Input(placeholder=_("part of a language's name"), compact=True)
            yield OptionList(markup=False)
        yield Keys(show_command_palette=False)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self._toggle(event.option_id or "")

    def action_change(self) -> None:
        self.after_typing(self._change)

    def _change(self, _typed: str) -> None:
        options = self.query_one(OptionList)
        if options.highlighted is not None:
            self._toggle(options.get_option_at_index(options.highlighted).id or "")

    def action_close(self) -> None:
        self.dismiss((tuple(self._codes),))

    def _toggle(self, code: str) -> None:
        if code in self._codes:
            self._codes.remove(code)
        else:
            self._codes.append(code)
        place = self.query_one(OptionList).highlighted
        self.fill(self.query_one(Input).value)
        self.query_one(OptionList).highlighted = place

    def fill(self, text: str) -> None:
        self.query_one("#chosen", Static).update(languages_in_words(tuple(self._codes)))
        options = self.query_one(OptionList)
        options.clear_options()
        word = text.strip().lower()
        named = sorted((language_name(code), code) for code in NAMES)
        options.add_options(
            [
                Option(f"{'✓' if code in self._codes else ' '} {name} ({code})", code)
                for name, code in named
                if word in name.lower() or word in NAMES[code].lower() or word == code
            ]
        )
        options.highlighted = 0 if options.option_count else None
