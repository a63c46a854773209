"""llama-bench's test, one repetition at a time: the same batches, the same tokens left out of the clock.

What is timed follows tools/llama-bench/llama-bench.cpp (`test_prompt`, `test_gen`) of llama.cpp 0c1e57098, the
commit inside llama-cpp-python 0.3.36.
"""

from __future__ import annotations

import ctypes
import time
from random import Random
from typing import Any

import llama_cpp

from profiles.engine.binding.log import RefusedError, collected_log
from profiles.engine.binding.session import Session
from profiles.engine.protocol import RunTest, TestTiming

_random = Random(0)

DECODE_ERRORS = {
    1: "the context is full",
    2: "it was interrupted",
    -1: "the batch is invalid",
    -2: "memory ran out",
    -3: "the computation failed",
}


def run_test(session: Session, request: RunTest) -> TestTiming:
    context = session.context
    if context is None:
        raise RefusedError("no context is open: open one before running a test")
    n_ctx = llama_cpp.llama_n_ctx_seq(context)
    needed = request.n_prompt + request.n_gen + request.depth
    if needed > n_ctx:
        raise RefusedError(f"the test needs a context of {needed} tokens, the open one holds {n_ctx}")
    session.cached = []
    with collected_log() as log:
        try:
            if request.warmup:
                _prompt(context, request.n_prompt)
                _generate(context, min(request.n_gen, 1))
            llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), False)
            _put_in(session, request.depth)
            prompt_s = _prompt(context, request.n_prompt)
            gen_s = _generate(context, request.n_gen)
        except _DecodeError as error:
            reason = DECODE_ERRORS.get(error.code, f"code {error.code}")
            raise RefusedError(f"the engine could not run {session.path}: {reason}", log.text()) from None
    return TestTiming(prompt_s if request.n_prompt else None, gen_s if request.n_gen else None)


class _DecodeError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _put_in(session: Session, depth: int) -> None:
    """Fill the empty cache with `depth` tokens, from the saved state if it is of the same depth."""
    if not depth:
        return
    context = session.context
    saved = session.saved_state
    if session.saved_depth == depth and llama_cpp.llama_state_seq_set_data(context, saved, len(saved), 0):
        return
    session.saved_state, session.saved_depth = None, 0
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), False)  # of what was restored in part
    _prompt(context, depth)
    size = llama_cpp.llama_state_seq_get_size(context, 0)
    state = (ctypes.c_uint8 * size)()
    if llama_cpp.llama_state_seq_get_data(context, state, size, 0):
        session.saved_state, session.saved_depth = state, depth


def _prompt(context: Any, n_tokens: int) -> float:
    """Seconds to process `n_tokens` random tokens in batches."""
    n_batch = llama_cpp.llama_n_batch(context)
    tokens = _tokens(context, n_tokens)
    batches = [
        llama_cpp.llama_batch_get_one(_from(tokens, start), min(n_batch, n_tokens - start))
        for start in range(0, n_tokens, n_batch)
    ]
    started = time.perf_counter_ns()
    for batch in batches:
        _decode(context, batch)
    llama_cpp.llama_synchronize(context)
    return (time.perf_counter_ns() - started) / 1e9


def _generate(context: Any, n_tokens: int) -> float:
    """Seconds to generate `n_tokens`, each computed before the next is begun."""
    tokens = _tokens(context, n_tokens)
    batches = [llama_cpp.llama_batch_get_one(_from(tokens, i), 1) for i in range(n_tokens)]
    started = time.perf_counter_ns()
    for batch in batches:
        _decode(context, batch)
        llama_cpp.llama_synchronize(context)
    return (time.perf_counter_ns() - started) / 1e9


def _decode(context: Any, batch: Any) -> None:
    if code := llama_cpp.llama_decode(context, batch):
        raise _DecodeError(code)


def _tokens(context: Any, n: int) -> Any:
    """`n` random tokens, the first one the beginning of a text where the vocabulary has such a token."""
    vocab = llama_cpp.llama_model_get_vocab(llama_cpp.llama_get_model(context))
    n_vocab = llama_cpp.llama_vocab_n_tokens(vocab)
    tokens = (llama_cpp.llama_token * n)(*(_random.randrange(n_vocab) for _ in range(n)))
    if n and llama_cpp.llama_vocab_get_add_bos(vocab):
        tokens[0] = llama_cpp.llama_vocab_bos(vocab)
    return tokens


def _from(tokens: Any, start: int) -> Any:
    address = ctypes.addressof(tokens) + start * ctypes.sizeof(llama_cpp.llama_token)
    return ctypes.cast(address, ctypes.POINTER(llama_cpp.llama_token))
