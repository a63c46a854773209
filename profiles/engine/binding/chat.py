"""A conversation in the open context: the answer comes a few tokens at a time, so that it can be stopped between two.

What the cache holds from earlier turns is kept as far as the new text begins with it.
"""

from __future__ import annotations

import codecs
import ctypes
import time
from typing import Any

import llama_cpp

from profiles.engine.binding.log import RefusedError, collected_log
from profiles.engine.binding.session import Session
from profiles.engine.binding.timing import DECODE_ERRORS
from profiles.engine.protocol import AnswerPart, AnswerStarted, ChatMessage, ContinueAnswer, StartAnswer

# llama.cpp's defaults for a conversation (common/common.h), but for the temperature, which the request has.
_TOP_K, _TOP_P, _MIN_P, _KEPT = 40, 0.95, 0.05, 1


class Answer:
    """One answer under way."""

    def __init__(self, session: Session, request: StartAnswer) -> None:
        if session.context is None or session.model is None:
            raise RefusedError("no context is open: open one before a conversation")
        self._session = session
        self._vocab = llama_cpp.llama_model_get_vocab(session.model)
        text, self._templated = _as_prompt(session.model, request.messages)
        tokens = _tokens(self._vocab, text)
        n_ctx = llama_cpp.llama_n_ctx_seq(session.context)
        if len(tokens) >= n_ctx:
            raise RefusedError(
                f"the conversation has {len(tokens)} tokens, and the context holds {n_ctx}: begin a new one"
            )
        self._reused = _keep_common(session, tokens)
        self._n_prompt = len(tokens)
        self._left = tokens[self._reused :]
        self._room = n_ctx
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._sampler = _sampler(request.temperature, request.seed)

    def started(self) -> AnswerStarted:
        return AnswerStarted(self._n_prompt, self._reused, self._templated)

    def go_on(self, request: ContinueAnswer) -> AnswerPart:
        """A piece of the prompt as long as there is some, then tokens. Raises RefusedError."""
        started = time.perf_counter()
        text, made, end = "", 0, None
        with collected_log() as log:
            try:
                if self._left:
                    size = min(
                        len(self._left), llama_cpp.llama_n_batch(self._session.context), request.prompt_tokens
                    )
                    piece, self._left = self._left[:size], self._left[size:]
                    self._decode(piece)
                else:
                    text, made, end = self._generate(request.tokens)
            except _FailedError as error:
                reason = DECODE_ERRORS.get(error.code, f"code {error.code}")
                raise RefusedError(f"the engine could not go on: {reason}", log.text()) from None
        return AnswerPart(
            text=text,
            tokens=made,
            prompt_left=len(self._left),
            seconds=time.perf_counter() - started,
            end=end,
        )

    def close(self) -> None:
        llama_cpp.llama_sampler_free(self._sampler)

    def _generate(self, n: int) -> tuple[str, int, Any]:
        text = ""
        for made in range(n):
            token = llama_cpp.llama_sampler_sample(self._sampler, self._session.context, -1)
            if llama_cpp.llama_vocab_is_eog(self._vocab, token):
                return text + self._text.decode(b"", final=True), made, "done"
            text += self._text.decode(_piece(self._vocab, token))
            if len(self._session.cached) + 1 >= self._room:
                return text + self._text.decode(b"", final=True), made + 1, "full"
            self._decode([token])
        return text, n, None

    def _decode(self, tokens: list[int]) -> None:
        array = (llama_cpp.llama_token * len(tokens))(*tokens)
        batch = llama_cpp.llama_batch_get_one(array, len(tokens))
        if code := llama_cpp.llama_decode(self._session.context, batch):
            raise _FailedError(code)
        llama_cpp.llama_synchronize(self._session.context)
        self._session.cached += tokens


class _FailedError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _keep_common(session: Session, tokens: list[int]) -> int:
    """How many tokens of the cache stay: the common beginning, at least the last token being computed anew."""
    common = 0
    for old, new in zip(session.cached, tokens[:-1], strict=False):
        if old != new:
            break
        common += 1
    memory = llama_cpp.llama_get_memory(session.context)
    if common < len(session.cached) and not llama_cpp.llama_memory_seq_rm(memory, 0, common, -1):
        common = 0  # a recurrent state cannot be taken back
    if not common:
        llama_cpp.llama_memory_clear(memory, True)
    session.cached = session.cached[:common]
    return common


def _as_prompt(model: Any, messages: tuple[ChatMessage, ...]) -> tuple[str, bool]:
    """The conversation as the model was taught to read it; one line a turn where its template is not known."""
    template = llama_cpp.llama_model_chat_template(model, None)
    if template:
        chat = (llama_cpp.llama_chat_message * len(messages))(
            *(llama_cpp.llama_chat_message(each.role.encode(), each.content.encode()) for each in messages)
        )
        size = 2 * sum(len(each.content.encode()) for each in messages) + 4096
        buffer = ctypes.create_string_buffer(size)
        length = llama_cpp.llama_chat_apply_template(template, chat, len(messages), True, buffer, size)
        if 0 < length <= size:
            return buffer.raw[:length].decode(errors="replace"), True
    lines = [f"{each.role}: {each.content}" for each in messages]
    return "\n".join([*lines, "assistant:"]), False


def _tokens(vocab: Any, text: str) -> list[int]:
    encoded = text.encode()
    room = len(encoded) + 16
    array = (llama_cpp.llama_token * room)()
    count = llama_cpp.llama_tokenize(vocab, encoded, len(encoded), array, room, True, True)
    if count < 0:
        raise RefusedError("the engine cannot cut this text into tokens")
    tokens = list(array[:count])
    # A template may write the beginning of text that the tokenizer has put there already.
    if len(tokens) > 1 and tokens[0] == tokens[1] == llama_cpp.llama_vocab_bos(vocab):
        tokens = tokens[1:]
    return tokens


def _piece(vocab: Any, token: int) -> bytes:
    buffer = ctypes.create_string_buffer(512)
    length = llama_cpp.llama_token_to_piece(vocab, token, buffer, len(buffer), 0, False)
    return buffer.raw[:length] if length > 0 else b""


def _sampler(temperature: float, seed: int) -> Any:
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    if temperature <= 0:
        parts = [llama_cpp.llama_sampler_init_greedy()]
    else:
        parts = [
            llama_cpp.llama_sampler_init_top_k(_TOP_K),
            llama_cpp.llama_sampler_init_top_p(_TOP_P, _KEPT),
            llama_cpp.llama_sampler_init_min_p(_MIN_P, _KEPT),
            llama_cpp.llama_sampler_init_temp(temperature),
            llama_cpp.llama_sampler_init_dist(seed),
        ]
    for part in parts:
        llama_cpp.llama_sampler_chain_add(chain, part)
    return chain


class Talk:
    """The answer that is under way in a session, one at a time."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._answer: Answer | None = None
        self._context: int | None = None  # that the answer is in: another one knows nothing of it

    def answer(self, request: StartAnswer | ContinueAnswer) -> AnswerStarted | AnswerPart:
        """Raises RefusedError."""
        if isinstance(request, StartAnswer):
            if self._answer is not None:
                self._answer.close()
                self._answer = None
            self._answer, self._context = Answer(self._session, request), self._session.context
            return self._answer.started()
        if self._answer is None or self._context != self._session.context:
            raise RefusedError("no answer is under way: start one first")
        return self._answer.go_on(request)
