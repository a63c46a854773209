"""Valid random blocks of a tensor type, packed by the engine."""

from __future__ import annotations

import ctypes
import time
from random import Random

from llama_cpp import _ggml

from profiles.engine.binding.ggml import tensor_types
from profiles.engine.binding.log import RefusedError
from profiles.engine.protocol import Blocks, SampleBlocks

_STANDARD_DEVIATION = 0.02  # what weights of language models are commonly drawn with at the start

# Types that hold no weights or have no function that packs them: the engine would abort.
_NOT_MADE = {"F64", "I8", "I16", "I32", "I64", "Q8_1", "Q8_K"}


def sample_blocks(request: SampleBlocks) -> Blocks:
    kinds = tensor_types()
    made = [name for name in kinds if name not in _NOT_MADE]
    if unknown := [name for name in request.types if name not in made]:
        raise RefusedError(
            f"the engine makes no blocks of {', '.join(unknown)}; it makes {', '.join(sorted(made))}"
        )
    longest = request.blocks * max((kinds[name].block_size for name in request.types), default=0)
    draw = Random(0).gauss
    weights = (ctypes.c_float * longest)(*(draw(0, _STANDARD_DEVIATION) for _ in range(longest)))
    importance = (ctypes.c_float * longest)(*([1.0] * longest))
    data, seconds = {}, {}
    for name in request.types:
        kind = kinds[name]
        packed = ctypes.create_string_buffer(request.blocks * kind.type_size)
        n_weights = request.blocks * kind.block_size
        started = time.perf_counter()
        _quantize_chunk(kind.id, weights, packed, 0, 1, n_weights, importance)
        seconds[name] = time.perf_counter() - started
        data[name] = packed.raw
    return Blocks(data, seconds)


_quantize_chunk = _ggml.libggml.ggml_quantize_chunk
_quantize_chunk.restype = ctypes.c_size_t
_quantize_chunk.argtypes = [
    ctypes.c_int,
    ctypes.POINTER(ctypes.c_float),
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.POINTER(ctypes.c_float),
]
