"""The engine's C interface, and the only module that imports llama_cpp. Runs in the worker.

The engine tells most of what is asked here in its log only: the types of a dry run and the buffers of a
context are read from there. The patterns below were written against llama-cpp-python 0.3.36; a report that no
longer matches is an error, never a silent zero.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import llama_cpp
from llama_cpp import _ggml

from profiles.engine.protocol import (
    CachePart,
    Describe,
    EngineVersion,
    MemoryQuestion,
    MemoryReport,
    QuantizeDryRun,
    QuantizePlan,
    Reply,
    Request,
    StatePart,
    TensorPlan,
)

_UNREADABLE = "this version of slm-advisor cannot read the engine's report on"


class RefusedError(Exception):
    """The engine said no. `last_words` holds the end of its log."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.last_words = "\n".join(log.strip().splitlines()[-8:])


def answer(request: Request) -> Reply:
    """Answer one request. Raises RefusedError."""
    match request:
        case Describe():
            return version()
        case QuantizeDryRun():
            return quantize_dry_run(request)
        case MemoryQuestion():
            return memory(request)


def version() -> EngineVersion:
    def text(name: str) -> str | None:
        function = getattr(_ggml.libggml, name)
        function.restype = ctypes.c_char_p
        value = (function() or b"").decode()
        return value if value != "unknown" else None

    return EngineVersion(
        package=llama_cpp.__version__,
        ggml=text("ggml_version"),
        commit=text("ggml_commit"),
        features=llama_cpp.llama_print_system_info().decode().strip(),
    )


# --- quantization -------------------------------------------------------------------------------------------

_TENSOR = re.compile(
    r"^\[ *\d+/ *\d+\] (?P<name>\S+) +- \[(?P<shape>[\d, ]+)\], type = +(?P<old>\w+), size = "
    r"[^()\n]+(?:\((?P<new>\w+)\))?$",
    re.MULTILINE,
)
_TENSOR_COUNT = re.compile(r"^\[ *\d+/ *(\d+)\]", re.MULTILINE)


def quantize_dry_run(request: QuantizeDryRun) -> QuantizePlan:
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = request.ftype
    params.dry_run = True
    params.nthread = 1
    if request.imatrix:
        # The mixture asks only whether there is an importance matrix; a dry run never looks into it.
        value = ctypes.pointer(ctypes.c_float(1.0))
        placeholder = (llama_cpp.llama_model_imatrix_data * 2)()
        placeholder[0].name, placeholder[0].data, placeholder[0].size = b"placeholder", value, 1
        params.imatrix = placeholder
    with _log() as log:
        failed = llama_cpp.llama_model_quantize(request.path.encode(), b"", ctypes.byref(params))
    text = log.text()
    if failed:
        raise RefusedError(f"the engine cannot quantize {request.path} to file type {request.ftype}", text)
    tensors = tuple(
        TensorPlan(line["name"], kind := line["new"] or line["old"], _tensor_bytes(kind, line["shape"]))
        for line in _TENSOR.finditer(text)
    )
    count = _TENSOR_COUNT.search(text)
    if count is None or len(tensors) != int(count[1]):
        raise RefusedError(f"{_UNREADABLE} {request.path}", text)
    return QuantizePlan(tensors)


def _tensor_bytes(kind: str, shape: str) -> int:
    row, *rest = (int(n) for n in shape.split(","))
    block_size, type_size = _types()[kind]
    bytes_ = row // block_size * type_size
    for n in rest:
        bytes_ *= n
    return bytes_


@lru_cache(maxsize=1)
def _types() -> dict[str, tuple[int, int]]:
    """Weights and bytes per block by the engine's type name."""
    ggml = _ggml.libggml
    ggml.ggml_type_name.restype = ctypes.c_char_p
    ggml.ggml_blck_size.restype = ctypes.c_int64
    ggml.ggml_type_size.restype = ctypes.c_size_t
    # The engine does not check the number's range: its last type is the only stop there is.
    return {
        (ggml.ggml_type_name(kind) or b"").decode(): (ggml.ggml_blck_size(kind), ggml.ggml_type_size(kind))
        for kind in range(llama_cpp.GGML_TYPE_COUNT)
    }


# --- memory -------------------------------------------------------------------------------------------------

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


def memory(request: MemoryQuestion) -> MemoryReport:
    with _log() as log:
        model = llama_cpp.llama_model_load_from_file(request.path.encode(), _no_alloc_params())
        if not model:
            raise RefusedError(f"the engine cannot load {request.path}", log.text())
        try:
            context = llama_cpp.llama_init_from_model(model, _context_params(request))
            if not context:
                raise RefusedError(f"the engine cannot make a context for {request.path}", log.text())
            llama_cpp.llama_free(context)
        finally:
            llama_cpp.llama_model_free(model)
    text = log.text()
    compute = {name: _bytes(size) for name, size in _COMPUTE.findall(text)}
    output = _OUTPUT.search(text)
    if not compute or output is None:
        raise RefusedError(f"{_UNREADABLE} {request.path}", text)
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


def _no_alloc_params() -> Any:
    params = llama_cpp.llama_model_default_params()
    params.no_alloc = True
    params.load_mode = llama_cpp.LLAMA_LOAD_MODE_NONE  # the engine asserts that nothing is mapped
    return params


def _context_params(request: MemoryQuestion) -> Any:
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = request.n_ctx
    params.n_batch = request.n_batch
    params.n_ubatch = request.n_ubatch
    params.n_seq_max = request.n_parallel
    params.n_outputs_max = request.n_outputs or 0
    params.swa_full = False  # as llama.cpp's own programs have it; only the library's default is True
    params.type_k = request.type_k
    params.type_v = request.type_v
    params.flash_attn_type = _FLASH_ATTENTION[request.flash_attention]
    return params


def _bytes(mebibytes: str) -> int:
    return round(float(mebibytes) * 1024 * 1024)


# --- the engine's log ---------------------------------------------------------------------------------------


class _Log:
    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def text(self) -> str:
        return b"".join(self.parts).decode(errors="replace")


@contextmanager
def _log() -> Iterator[_Log]:
    """Collect what the engine logs. Warnings and errors go to standard error too: they outlive a crash."""
    log = _Log()
    append = log.parts.append

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def callback(level: int, text: bytes, _: object) -> None:
        append(text)
        if level in (3, 4):  # GGML_LOG_LEVEL_WARN, GGML_LOG_LEVEL_ERROR
            print(text.decode(errors="replace"), end="", file=sys.stderr, flush=True)

    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    try:
        yield log
    finally:
        llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _silent(level: int, text: bytes, _: object) -> None:
    """Between two questions nobody listens, but the engine must not be left with a freed callback."""
