"""Talking with a model file: what it says as it says it, and how fast."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Input, Static

from advisor.candidates import Candidate
from advisor.language import _, marked
from advisor.local_files import named_as
from advisor.tui.messages import ChatEnded, ChatPart, ChatReady, Watched
from advisor.tui.screens.base import Dialog
from advisor.tui.widgets.keys import Keys
from advisor.tui.widgets.live import Live
from advisor.tui.work.chatting import Talker
from profiles.text import rate


class TalkScreen(Dialog):
    """Enter asks, escape ends the answer under way or closes."""

    HELP = marked(
        "Type and press enter. Escape ends an answer that runs, and closes the conversation when none does. Above is "
        "what the model generates a second, as in the list, and what it takes of the machine. Nothing that is said "
        "leaves this machine or is kept."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", marked("Stop or close"), priority=True),
        Binding("pageup", "page(-1)", marked("Scroll"), priority=True),
        Binding("pagedown", "page(1)", marked("Scroll"), show=False, priority=True),
    ]
    DEFAULT_CSS = """
    TalkScreen > .dialog { width: 96%; max-width: 120; height: 92%; }
    TalkScreen #speed { height: auto; color: $text-muted; padding: 0 1; }
    TalkScreen VerticalScroll { height: 1fr; }
    TalkScreen .said { height: auto; padding: 0 1; }
    TalkScreen .mine { color: $accent; margin-top: 1; }
    TalkScreen.-flat Live #machine { display: none; }
    """

    def __init__(self, path: Path, candidate: Candidate) -> None:
        super().__init__()
        self._path = path
        # What was predicted is of the chosen deployment: another file has its own speed.
        its_own = named_as(path, candidate.model, candidate.variant.quant)
        self._predicted = candidate.speed.tg if its_own and candidate.speed is not None else None
        self._talker = Talker(path, candidate, self.post_message)
        self._answer: Static | None = None
        self._text = ""
        self._ended = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = self._path.name
            yield Live()
            yield Static("", id="speed", markup=False)
            yield VerticalScroll(can_focus=False)
            yield Input(placeholder=_("loading the model"), compact=True, disabled=True)
        yield Keys(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one(Live).clear()
        self.run_worker(self._talker.run, thread=True, group="talking")
        self.query_one("#speed", Static).update(self._prediction())

    def _prediction(self) -> str:
        if (tg := self._predicted) is None:
            return ""
        return _("predicted: {value} tokens/s ({low} to {high})").format(
            value=rate(tg.value), low=rate(tg.low), high=rate(tg.high)
        )

    def on_unmount(self) -> None:
        self._talker.end()

    def on_chat_ready(self, message: ChatReady) -> None:
        field = self.query_one(Input)
        for note in message.notes:
            self.query_one(VerticalScroll).mount(Static(f"· {note}", classes="said", markup=False))
        field.disabled = False
        field.placeholder = _("say something; {description}, {tokens} tokens of context").format(
            description=message.description, tokens=message.n_ctx
        )
        field.focus()

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        text = event.value.strip()
        if not text or self._answer is not None or self._ended:
            return
        event.input.value = ""
        self._text = ""
        self._answer = Static("…", classes="said", markup=False)
        scroll = self.query_one(VerticalScroll)
        await scroll.mount(Static(f"> {text}", classes="said mine", markup=False), self._answer)
        scroll.scroll_end(animate=False)
        self._talker.say(text)

    def on_chat_part(self, message: ChatPart) -> None:
        part = message.part
        if self._answer is None:
            return
        self._text += part.text
        if part.prompt_left:
            self._answer.update(_("reading, {tokens} tokens left …").format(tokens=part.prompt_left))
        else:
            self._answer.update(self._text or "…")
        if part.part_tokens_per_s is not None:
            self.query_one(Live).sample("tg", part.part_tokens_per_s)
        self.query_one(VerticalScroll).scroll_end(animate=False)
        if part.tg_tokens_per_s is not None:
            words = _("this answer: {rate} tokens/s over {tokens} tokens").format(
                rate=rate(part.tg_tokens_per_s), tokens=part.tokens
            )
            self.query_one("#speed", Static).update("  ·  ".join(filter(None, (words, self._prediction()))))

    def on_watched(self, message: Watched) -> None:
        self.query_one(Live).watched(message.reading)

    def on_chat_ended(self, message: ChatEnded) -> None:
        self._answer = None
        if message.problem is not None:
            self._ended = True
            field = self.query_one(Input)
            field.disabled = True
            field.placeholder = _("The conversation is over; escape closes.")
            scroll = self.query_one(VerticalScroll)
            scroll.mount(Static(Text(message.problem.message, "bold"), classes="said"))
            scroll.scroll_end(animate=False)

    def action_page(self, by: int) -> None:
        """Through what was said; the cursor stays in the field."""
        scroll = self.query_one(VerticalScroll)
        scroll.scroll_relative(y=by * max(1, scroll.size.height - 1), animate=False)

    def action_close(self) -> None:
        if self._answer is not None:
            self._talker.interrupt()
        else:
            self.dismiss(None)
