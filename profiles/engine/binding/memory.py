"""What a model and a context would allocate, without allocating it."""

from __future__ import annotations

import llama_cpp

from profiles.engine.binding.context import context_params, load_model, make_context, read_buffers
from profiles.engine.protocol import MemoryQuestion, MemoryReport


def memory(request: MemoryQuestion) -> MemoryReport:
    model_params = llama_cpp.llama_model_default_params()
    model_params.no_alloc = True
    model_params.load_mode = llama_cpp.LLAMA_LOAD_MODE_NONE  # the engine asserts that nothing is mapped
    params = context_params(request)
    params.n_outputs_max = request.n_outputs or 0
    model = load_model(request.path, model_params)
    try:
        context, log = make_context(model, params, request.path)
        llama_cpp.llama_free(context)
    finally:
        llama_cpp.llama_model_free(model)
    return read_buffers(log, request, request.path)
