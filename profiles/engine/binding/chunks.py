"""A text cut into chunks of tokens as llama.cpp's own tools cut it, and a chunk handed to the engine.

The text is tokenized as a whole, without special tokens in it, and cut into pieces of equal length; the rest is
left out. Each piece is read with an empty cache, and where the vocabulary asks for a token at the beginning of a
text, it takes the place of the piece's first token (tools/perplexity/perplexity.cpp, tools/imatrix/imatrix.cpp).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp

from profiles.engine.binding.log import RefusedError
from profiles.engine.binding.timing import DECODE_ERRORS

LEAST_CHUNKS = 2  # llama.cpp's tools refuse a text that is shorter


class Chunks:
    """The tokens of a text, by chunk."""

    def __init__(self, model: int, path: str, n_ctx: int, limit: int | None) -> None:
        vocab = llama_cpp.llama_model_get_vocab(model)
        if llama_cpp.llama_vocab_type(vocab) == llama_cpp.LLAMA_VOCAB_TYPE_NONE:
            raise RefusedError("the model has no tokenizer: it cannot read a text")
        if llama_cpp.llama_model_has_encoder(model) or llama_cpp.llama_vocab_get_add_eos(vocab):
            raise RefusedError(
                "the model is no plain language model: it ends or encodes every text it is given"
            )
        self._tokens = tokenize(vocab, path)
        self._n_ctx = n_ctx
        self._bos = llama_cpp.llama_vocab_bos(vocab) if llama_cpp.llama_vocab_get_add_bos(vocab) else None
        self.n_tokens = len(self._tokens)
        available = self.n_tokens // n_ctx
        if available < LEAST_CHUNKS:
            raise RefusedError(
                f"{path} has {self.n_tokens:,} tokens; a context of {n_ctx:,} needs {LEAST_CHUNKS * n_ctx:,} or more"
            )
        self.count = available if limit is None else min(limit, available)

    def __getitem__(self, chunk: int) -> list[int]:
        if not 0 <= chunk < self.count:
            raise RefusedError(f"there is no chunk {chunk}: the text has {self.count}")
        tokens = self._tokens[chunk * self._n_ctx : (chunk + 1) * self._n_ctx]
        return tokens if self._bos is None else [self._bos, *tokens[1:]]


def tokenize(vocab: Any, path: str) -> list[int]:
    """The tokens of the text in the file at `path`. Raises RefusedError."""
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise RefusedError(f"{path} cannot be read: {error.strerror or error}") from None
    capacity = len(text) + 2
    tokens = (llama_cpp.llama_token * capacity)()
    count = llama_cpp.llama_tokenize(vocab, text, len(text), tokens, capacity, True, False)
    if count < 0:
        raise RefusedError(f"the engine cannot turn {path} into tokens")
    return tokens[:count]


class Reader:
    """Hands tokens to a context, one sequence, without copying a batch together anew each time."""

    def __init__(self, context: int, path: str, capacity: int) -> None:
        self._context = context
        self._path = path
        self._batch = llama_cpp.llama_batch_init(capacity, 0, 1)
        for i in range(capacity):
            self._batch.n_seq_id[i] = 1
            self._batch.seq_id[i][0] = 0

    def forget(self) -> None:
        """Begin a new text."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)

    def read(self, tokens: Sequence[int], position: int, *, logits: bool) -> None:
        """Compute `tokens`, which stand at `position` of the text. Raises RefusedError."""
        batch = self._batch
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i] = token
            batch.pos[i] = position + i
            batch.logits[i] = logits
        if code := llama_cpp.llama_decode(self._context, batch):
            reason = DECODE_ERRORS.get(code, f"code {code}")
            raise RefusedError(f"the engine could not run {self._path}: {reason}")
        llama_cpp.llama_synchronize(self._context)

    def logits(self, rows: int, n_vocab: int) -> ctypes.Array[ctypes.c_float]:
        """The logits of the tokens last read with `logits`, valid until the next are read."""
        pointer = llama_cpp.llama_get_logits(self._context)
        return (ctypes.c_float * (rows * n_vocab)).from_address(ctypes.addressof(pointer.contents))

    def close(self) -> None:
        llama_cpp.llama_batch_free(self._batch)
