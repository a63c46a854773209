"""Talking with a model on this device, a few tokens at a time.

with Engine() as engine:
    talk = Conversation(engine, path, RunSettings(), n_ctx=4096)
    for part in talk.say("Hello"):
        print(part.text, end="")
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from profiles.engine.client import Engine
from profiles.engine.protocol import ChatMessage, ContinueAnswer, LoadModel, ModelLoaded, StartAnswer
from profiles.throughput import LOAD_TIMEOUT_S, RunSettings, open_context, require

PART_S = 0.15  # a part of an answer shall take about this long
_MOST = 32  # tokens in a part
_STEP_TIMEOUT_S = 300.0


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of an answer. Rates are over the whole answer so far, None before there is one."""

    text: str
    tokens: int  # generated so far
    prompt_left: int
    pp_tokens_per_s: float | None
    tg_tokens_per_s: float | None
    part_tokens_per_s: float | None  # of this piece alone
    end: Literal["done", "full"] | None = None


class Conversation:
    """A model that is loaded to talk with. Its making raises EngineError."""

    def __init__(self, engine: Engine, path: Path, settings: RunSettings, n_ctx: int) -> None:
        self._engine = engine
        self.model: ModelLoaded = require(
            engine.load_model(LoadModel(str(path), settings.gpu_layers), timeout_s=LOAD_TIMEOUT_S)
        )
        self.n_ctx = open_context(engine, settings, min(n_ctx, self.model.n_ctx_train or n_ctx)).n_ctx
        self.messages: list[ChatMessage] = []
        self.templated = True

    def say(self, text: str, *, temperature: float = 0.7, seed: int = 0) -> Iterator[Part]:
        """The answer, piece by piece; whoever stops reading leaves the conversation as far as it came.

        Raises EngineError.
        """
        self.messages.append(ChatMessage("user", text))
        started = require(
            self._engine.start_answer(
                StartAnswer(tuple(self.messages), temperature, seed), timeout_s=_STEP_TIMEOUT_S
            )
        )
        self.templated = started.templated
        said: list[str] = []
        to_read = started.n_prompt - started.n_reused
        read_s = written_s = 0.0
        written, size = 0, 1
        try:
            while True:
                part = require(self._engine.continue_answer(ContinueAnswer(size), timeout_s=_STEP_TIMEOUT_S))
                if part.tokens or part.end:
                    written_s += part.seconds
                    written += part.tokens
                    size = max(1, min(_MOST, round(PART_S * written / written_s))) if written_s else 1
                else:
                    read_s += part.seconds
                said.append(part.text)
                yield Part(
                    text=part.text,
                    tokens=written,
                    prompt_left=part.prompt_left,
                    pp_tokens_per_s=(to_read - part.prompt_left) / read_s if read_s else None,
                    tg_tokens_per_s=written / written_s if written and written_s else None,
                    part_tokens_per_s=part.tokens / part.seconds if part.tokens else None,
                    end=part.end,
                )
                if part.end is not None:
                    return
        finally:
            self.messages.append(ChatMessage("assistant", "".join(said)))
