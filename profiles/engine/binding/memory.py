"""What a model and a context would allocate, without allocating it."""

from __future__ import annotations

import llama_cpp

from profiles.engine.binding.context import context_params, read_buffers
from profiles.engine.binding.log import RefusedError, collected_log
from profiles.engine.protocol import MemoryQuestion, MemoryReport


def memory(request: MemoryQuestion) -> MemoryReport:
    model_params = llama_cpp.llama_model_default_params()
    model_params.no_alloc = True
    model_params.load_mode = llama_cpp.LLAMA_LOAD_MODE_NONE  # the engine asserts that nothing is mapped
    params = context_params(request)
    params.n_outputs_max = request.n_outputs or 0
    with collected_log() as log:
        model = llama_cpp.llama_model_load_from_file(request.path.encode(), model_params)
        if not model:
            raise RefusedError(f"the engine cannot load {request.path}", log.text())
        try:
            context = llama_cpp.llama_init_from_model(model, params)
            if not context:
                raise RefusedError(f"the engine cannot make a context for {request.path}", log.text())
            llama_cpp.llama_free(context)
        finally:
            llama_cpp.llama_model_free(model)
    return read_buffers(log.text(), request, request.path)
