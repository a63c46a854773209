"""What stays loaded between two requests: a model, its context, and the state of a depth."""

from __future__ import annotations

import ctypes
import os
import time
from typing import Any

import llama_cpp
import psutil
from llama_cpp import _ggml

from profiles.engine.binding.context import context_params, load_model, make_context, read_buffers
from profiles.engine.binding.log import RefusedError
from profiles.engine.protocol import ContextOpened, LoadModel, ModelLoaded, OpenContext


class Session:
    """One model and one context at a time."""

    def __init__(self) -> None:
        self.model: int | None = None
        self.context: int | None = None
        self.path = ""
        self.saved_state: Any = None  # a ctypes array, of `saved_depth` tokens
        self.saved_depth = 0
        self.cached: list[int] = []  # tokens of a conversation that the context's cache holds
        self._thread_pools: list[int] = []

    @property
    def saved_state_bytes(self) -> int:
        return len(self.saved_state) if self.saved_state is not None else 0

    def load(self, request: LoadModel) -> ModelLoaded:
        self._close_model()
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = request.gpu_layers
        if not request.use_mmap:
            params.load_mode = llama_cpp.LLAMA_LOAD_MODE_NONE
        started = time.perf_counter()
        model = load_model(request.path, params)
        load_s = time.perf_counter() - started
        self.model = model
        self.path = request.path
        vocab = llama_cpp.llama_model_get_vocab(model)
        return ModelLoaded(
            description=_text(llama_cpp.llama_model_desc, model),
            architecture=_text(llama_cpp.llama_model_meta_val_str, model, b"general.architecture"),
            n_layer=llama_cpp.llama_model_n_layer(model),
            n_vocab=llama_cpp.llama_vocab_n_tokens(vocab),
            n_ctx_train=llama_cpp.llama_model_n_ctx_train(model),
            n_params=llama_cpp.llama_model_n_params(model),
            tensor_bytes=llama_cpp.llama_model_size(model),
            load_s=load_s,
        )

    def open(self, request: OpenContext, eval_callback: Any = None) -> ContextOpened:
        """Make a context. `eval_callback`, a ggml_backend_sched_eval_callback, is shown every tensor computed."""
        self._close_context()
        if self.model is None:
            raise RefusedError("no model is loaded: load one before opening a context")
        threads = request.threads or usable_cores()
        threads_batch = request.threads_batch or threads
        params = context_params(request)
        params.n_threads = threads
        params.n_threads_batch = threads_batch
        params.offload_kqv = request.offload_kv
        if eval_callback is not None:
            params.cb_eval = eval_callback
        context, log = make_context(self.model, params, self.path)
        self.context = context
        self._refuse_what_writes_no_text()
        buffers = read_buffers(log, request, self.path)
        self._attach_threads(threads, threads_batch)
        return ContextOpened(
            n_ctx=llama_cpp.llama_n_ctx(context),
            flash_attention=buffers.flash_attention,
            kv_cache_bytes=buffers.kv_cache_bytes,
            compute_bytes=buffers.compute,
            state_bytes=buffers.state_bytes,
            threads=threads,
            threads_batch=threads_batch,
        )

    def _refuse_what_writes_no_text(self) -> None:
        """Tests process a prompt and continue it, one token after another: not every model does that."""
        model, context = self.model, self.context
        why = ""
        if llama_cpp.llama_model_is_diffusion(model):
            why = "it writes a whole text at once by diffusion"
        elif llama_cpp.llama_model_has_encoder(model) and llama_cpp.llama_model_has_decoder(model):
            why = "it is an encoder and a decoder, and the prompt would have to go through the encoder first"
        elif llama_cpp.llama_model_has_encoder(model) or not llama_cpp.llama_get_memory(context):
            why = "it is an encoder: it turns text into vectors and writes none"
        if why:
            self._close_context()
            raise RefusedError(f"{self.path} cannot be timed as a language model: {why}")

    def _attach_threads(self, threads: int, threads_batch: int) -> None:
        """Threads that live as long as the context, as llama-bench makes them.

        Without them, a build without OpenMP starts new threads for every token.
        """
        self._thread_pools = [_thread_pool(n) for n in sorted({threads, threads_batch})]
        few, many = self._thread_pools[0], self._thread_pools[-1]
        pools = (few, many) if threads <= threads_batch else (many, few)
        _attach(self.context, *pools)

    def _close_context(self) -> None:
        self.cached = []
        if self.context is not None:
            llama_cpp.llama_free(self.context)
            self.context = None
        for pool in self._thread_pools:
            _cpu_function("ggml_threadpool_free")(ctypes.c_void_p(pool))
        self._thread_pools = []

    def close(self) -> None:
        """Free the model and its context."""
        self._close_model()

    def _close_model(self) -> None:
        self._close_context()
        self.saved_state, self.saved_depth = None, 0
        if self.model is not None:
            llama_cpp.llama_model_free(self.model)
            self.model = None


def usable_cores() -> int:
    """Physical cores this process may use; llama-bench's default is the same where all cores are alike."""
    logical = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(psutil.cpu_count(logical=False) or logical, logical)


def _text(function: Any, *arguments: Any) -> str:
    buffer = ctypes.create_string_buffer(256)
    function(*arguments, buffer, len(buffer))
    return buffer.value.decode(errors="replace")


# --- what llama-cpp-python leaves out -----------------------------------------------------------------------


def _attach(context: int | None, pool: int, pool_batch: int) -> None:
    attach = llama_cpp.llama_cpp._lib.llama_attach_threadpool
    attach.restype = None
    attach(*(ctypes.c_void_p(pointer) for pointer in (context, pool, pool_batch)))


def _thread_pool(threads: int) -> int:
    # Larger than any version's `ggml_threadpool_params`, so that its layout need not be known here.
    params = ctypes.create_string_buffer(1 << 16)
    _ggml.libggml.ggml_threadpool_params_init(params, threads)
    new = _cpu_function("ggml_threadpool_new")
    new.restype = ctypes.c_void_p
    pool: int | None = new(params)
    if pool is None:
        raise RefusedError(f"the engine cannot start {threads} threads")
    return pool


def _cpu_function(name: str) -> Any:
    """A function of the CPU backend, which may be a library of its own that is loaded at run time."""
    ggml = _ggml.libggml
    ggml.ggml_backend_dev_by_type.restype = ctypes.c_void_p
    ggml.ggml_backend_dev_backend_reg.restype = ctypes.c_void_p
    ggml.ggml_backend_reg_get_proc_address.restype = ctypes.c_void_p
    cpu = 0  # GGML_BACKEND_DEVICE_TYPE_CPU
    device = ctypes.c_void_p(ggml.ggml_backend_dev_by_type(cpu))
    backend = ctypes.c_void_p(ggml.ggml_backend_dev_backend_reg(device))
    address = ggml.ggml_backend_reg_get_proc_address(backend, name.encode())
    return ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(address)
