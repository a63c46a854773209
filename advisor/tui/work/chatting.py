"""A conversation with a model file, in a thread: loading it, then one answer at a time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path

from textual.message import Message

from advisor.candidates import Candidate
from advisor.language import _
from advisor.tui.messages import ChatEnded, ChatPart, ChatReady
from advisor.tui.state import Problem
from advisor.tui.work.failing import in_words
from profiles.device import Device
from profiles.engine.stop import Stop

LONGEST = 4096  # tokens of context; a conversation to try a model needs no more


class Talker:
    """Takes what is said and posts what is answered, until it is stopped."""

    def __init__(
        self,
        path: Path,
        candidate: Candidate,
        post: Callable[[Message], object],
        look: Callable[[], Device] | None = None,
    ) -> None:
        """`look` says what this machine is just now; without it, the machine is asked."""
        self.stop = Stop()
        self._path, self._candidate, self._post, self._look = path, candidate, post, look
        self._said: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._enough = threading.Event()

    def say(self, text: str) -> None:
        """Ask for an answer."""
        self._enough.clear()
        self._said.put(text)

    def interrupt(self) -> None:
        """End the answer under way; the conversation goes on."""
        self._enough.set()

    def end(self) -> None:
        """End the conversation and its engine."""
        self._enough.set()
        self._said.put(None)
        self.stop()

    def run(self) -> None:
        """The thread's work. What goes wrong is posted."""
        from advisor.bench import check_file, check_memory
        from advisor.errors import AdvisorError
        from advisor.trial import run_settings_of
        from advisor.tui.work.watching import watch
        from profiles.conversation import Conversation
        from profiles.detect import detect
        from profiles.errors import ProfilesError
        from quantize.errors import QuantizeError

        done = threading.Event()
        gpu = self._candidate.settings.offload_layers > 0
        watcher = threading.Thread(target=watch, args=(self.stop, done, gpu, self._post), daemon=True)
        watcher.start()
        try:
            header = check_file(self._path)
            settings = run_settings_of(self._candidate)
            n_ctx = min(LONGEST, self._candidate.settings.context_length)
            now = (self._look or detect)()  # what is free may have changed since the list was made
            with self.stop.engine() as engine:
                remedy = _("close other programs, or take a smaller context on the need screen")
                notes = check_memory(engine, self._path, header, settings, n_ctx, now, remedy)
                talk = Conversation(engine, self._path, settings, n_ctx)
                self._post(ChatReady(talk.model.description, talk.n_ctx, tuple(notes)))
                while (text := self._said.get()) is not None:
                    for part in talk.say(text):
                        self._post(ChatPart(part))
                        if self._enough.is_set():
                            break
                    self._post(ChatEnded())
        except (AdvisorError, ProfilesError, QuantizeError, OSError) as error:
            if not self.stop.stopped:
                self._post(ChatEnded(Problem(in_words(error))))
        finally:
            done.set()
            watcher.join()
