"""What a context is made with, and what the engine's log says it is made of."""

from __future__ import annotations

import re
from typing import Any

import llama_cpp

from profiles.engine.binding.ggml import tensor_types
from profiles.engine.binding.log import UNREADABLE, RefusedError, collected_log
from profiles.engine.binding.reasons import reason
from profiles.engine.protocol import CachePart, MemoryQuestion, MemoryReport, OpenContext, StatePart

_MIB = r" *([\d.]+) MiB"
_CACHE = re.compile(
    rf"^llama_kv_cache: size ={_MIB} \( *(\d+) cells, *(\d+) layers.*K \(\w+\):{_MIB}, V \(\w+\):{_MIB}$",
    re.MULTILINE,
)
_STATE = re.compile(
    rf"^llama_memory_recurrent: size ={_MIB} \( *(\d+) cells, *(\d+) layers.*"
    rf"R \(\w+\):{_MIB}, S \(\w+\):{_MIB}",
    re.MULTILINE,
)
_COMPUTE = re.compile(rf"^sched_reserve: +(\S+) compute buffer size ={_MIB}$", re.MULTILINE)
_OUTPUT = re.compile(rf"^\w+: +\S+ +output buffer size ={_MIB}$", re.MULTILINE)
_NO_FLASH = re.compile(r"Flash Attention.*not supported|flash_attn is not compatible", re.IGNORECASE)

_FLASH_ATTENTION = {
    "auto": llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "on": llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}


def load_model(path: str, params: Any) -> int:
    """Load the GGUF at `path`. Raises RefusedError."""
    with collected_log() as log:
        model: int | None = llama_cpp.llama_model_load_from_file(path.encode(), params)
    if model is None:
        raise RefusedError(f"the engine cannot load {path}: {reason(log.text())}", log.text())
    return model


def make_context(model: int, params: Any, path: str) -> tuple[int, str]:
    """A context for the model loaded from `path`, and what the log said of it. Raises RefusedError."""
    with collected_log() as log:
        context: int | None = llama_cpp.llama_init_from_model(model, params)
    if context is None:
        raise RefusedError(
            f"the engine cannot make a context of {params.n_ctx} tokens for {path}: {reason(log.text())}",
            log.text(),
        )
    return context, log.text()


def context_params(request: MemoryQuestion | OpenContext) -> Any:
    """The engine's parameters, with the defaults of llama.cpp's own programs. Raises RefusedError."""
    known = {kind.id for kind in tensor_types().values()}
    for kind in (request.type_k, request.type_v):
        if kind not in known:  # the engine looks numbers up without a check
            raise RefusedError(f"the engine has no tensor type of number {kind} for a KV cache")
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = request.n_ctx
    params.n_batch = request.n_batch
    params.n_ubatch = request.n_ubatch
    params.n_seq_max = request.n_parallel
    params.swa_full = False  # only the library's default is True
    params.type_k = request.type_k
    params.type_v = request.type_v
    params.flash_attn_type = _FLASH_ATTENTION[request.flash_attention]
    return params


def read_buffers(text: str, request: MemoryQuestion | OpenContext, path: str) -> MemoryReport:
    """The buffers in the log of a context of `request` being made for the model at `path`.

    Raises RefusedError.
    """
    compute = {name: _bytes(size) for name, size in _COMPUTE.findall(text)}
    output = _OUTPUT.search(text)
    if not compute or output is None:
        raise RefusedError(f"{UNREADABLE} {path}", text)
    return MemoryReport(
        caches=tuple(
            CachePart(int(cells), int(layers), _bytes(k), _bytes(v))
            for _, cells, layers, k, v in _CACHE.findall(text)
        ),
        states=tuple(
            StatePart(int(cells), int(layers), _bytes(r), _bytes(s))
            for _, cells, layers, r, s in _STATE.findall(text)
        ),
        compute=compute,
        output_bytes=_bytes(output[1]),
        flash_attention=request.flash_attention != "off" and _NO_FLASH.search(text) is None,
    )


def _bytes(mebibytes: str) -> int:
    return round(float(mebibytes) * 1024 * 1024)
