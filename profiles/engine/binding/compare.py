"""Two models read one text, and every prediction of the one is held against the other's.

What is predicted is what llama.cpp's tools/perplexity/perplexity.cpp predicts: in each chunk the tokens after its
first half, which serves as context. Logits exist for a few tokens at a time and never leave the worker.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import llama_cpp
import numpy as np
import numpy.typing as npt

from profiles.engine.binding.chunks import Chunks, Reader
from profiles.engine.binding.log import RefusedError
from profiles.engine.binding.session import Session, usable_cores
from profiles.engine.protocol import (
    ChunkCompared,
    ComparisonOpened,
    LoadModel,
    ModelLoaded,
    OpenComparison,
    OpenContext,
)

ROWS = 128  # tokens whose logits are held at once, 4 bytes x vocabulary each, for either model

Floats = npt.NDArray[np.float32]


class Comparison:
    """Two models side by side, and the text they read."""

    def __init__(self, request: OpenComparison) -> None:
        self._n_ctx = request.n_ctx
        self._built = _Model(request.built)
        self._reference = _Model(request.reference)
        try:
            loaded = [model.load() for model in (self._reference, self._built)]
            _check_vocabularies(self._built, self._reference)
            self._n_vocab = loaded[0].n_vocab
            assert self._reference.session.model is not None
            self._chunks = Chunks(self._reference.session.model, request.text, request.n_ctx, request.chunks)
            for model in (self._reference, self._built):
                model.open(request)
        except RefusedError:
            self.close()
            raise
        self._descriptions = loaded[1].description, loaded[0].description
        self._threads = request.threads or usable_cores()

    def opened(self) -> ComparisonOpened:
        return ComparisonOpened(self._chunks.n_tokens, self._chunks.count, self._n_vocab, *self._descriptions)

    def compare(self, chunk: int) -> ChunkCompared:
        tokens = self._chunks[chunk]
        first = self._n_ctx // 2
        for model in (self._reference, self._built):
            model.reader.forget()
            for start in range(0, first, ROWS):
                model.reader.read(tokens[start : min(start + ROWS, first)], start, logits=False)
        rows: list[_Row] = []
        # The last token has no successor to predict.
        for start in range(first, self._n_ctx - 1, ROWS):
            end = min(start + ROWS, self._n_ctx - 1)
            for model in (self._reference, self._built):
                model.reader.read(tokens[start:end], start, logits=True)
            rows += self._rows(tokens[start + 1 : end + 1])
        nll, reference_nll, divergence, same = zip(*rows, strict=True)
        return ChunkCompared(nll, reference_nll, divergence, same)

    def _rows(self, targets: list[int]) -> list[_Row]:
        shape = len(targets), self._n_vocab
        built, reference = (
            np.frombuffer(memoryview(model.reader.logits(*shape)), np.float32).reshape(shape)
            for model in (self._built, self._reference)
        )
        # Threads are worth it: numpy lets go of the interpreter while it works on a row.
        with ThreadPoolExecutor(self._threads) as pool:
            rows = list(pool.map(_compare_row, built, reference, targets))
        if not all(math.isfinite(number) for row in rows for number in row[:3]):
            broken = self._reference if not np.isfinite(reference).all() else self._built
            raise RefusedError(f"{broken.path} gives logits that are no numbers: the file is broken")
        return rows

    def close(self) -> None:
        self._built.close()
        self._reference.close()


class _Model:
    def __init__(self, path: str) -> None:
        self.path = path
        self.session = Session()
        self._reader: Reader | None = None

    @property
    def reader(self) -> Reader:
        assert self._reader is not None
        return self._reader

    def load(self) -> ModelLoaded:
        return self.session.load(LoadModel(self.path))

    def open(self, request: OpenComparison) -> None:
        self.session.open(OpenContext(request.n_ctx, n_batch=ROWS, n_ubatch=ROWS, threads=request.threads))
        assert self.session.context is not None
        self._reader = Reader(self.session.context, self.path, ROWS)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        self.session.close()


_Row = tuple[float, float, float, bool]


def _compare_row(built: Floats, reference: Floats, target: int) -> _Row:
    """-log q(target), -log p(target), the divergence D(p || q) in nats, and whether p and q have the same top.

    p is the reference's distribution and q the built model's, softmax of their logits.
    """
    top, reference_top = int(built.argmax()), int(reference.argmax())
    q, p = built - built[top], reference - reference[reference_top]  # logarithms but for a constant
    weights = np.exp(p)
    total = weights.sum(dtype=np.float64)
    log_p, log_q = math.log(total), math.log(np.exp(q).sum(dtype=np.float64))
    divergence = (weights * (p - q)).sum(dtype=np.float64) / total - log_p + log_q
    return log_q - float(q[target]), log_p - float(p[target]), float(divergence), top == reference_top


def _check_vocabularies(built: _Model, reference: _Model) -> None:
    """Raises RefusedError unless a token means the same to both."""
    one, other = (llama_cpp.llama_model_get_vocab(model.session.model) for model in (built, reference))
    sizes = [llama_cpp.llama_vocab_n_tokens(vocab) for vocab in (one, other)]
    names = f"{built.path} and {reference.path} cannot be compared"
    if sizes[0] != sizes[1]:
        raise RefusedError(f"{names}: their vocabularies have {sizes[0]:,} and {sizes[1]:,} tokens")
    text = llama_cpp.llama_vocab_get_text
    for token in range(sizes[0]):
        if text(one, token) != text(other, token):
            raise RefusedError(f"{names}: token {token} of their vocabularies differs")
    for question in (
        llama_cpp.llama_vocab_type,
        llama_cpp.llama_vocab_get_add_bos,
        llama_cpp.llama_vocab_bos,
    ):
        if question(one) != question(other):
            raise RefusedError(f"{names}: their tokenizers begin a text differently")
