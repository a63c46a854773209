"""Functions of ggml, the tensor library below llama.cpp, that llama-cpp-python gives no signature."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import NamedTuple

import llama_cpp
from llama_cpp import _ggml


class TensorType(NamedTuple):
    """A tensor type of the engine: weights and bytes per block."""

    id: int
    block_size: int
    type_size: int


@lru_cache(maxsize=1)
def tensor_types() -> dict[str, TensorType]:
    """The engine's tensor types by their names in capitals: "F16", "Q4_K", "IQ2_XXS"."""
    ggml = _ggml.libggml
    ggml.ggml_type_name.restype = ctypes.c_char_p
    ggml.ggml_blck_size.restype = ctypes.c_int64
    ggml.ggml_type_size.restype = ctypes.c_size_t
    # The engine does not check the number's range: its last type is the only stop there is. Numbers of types
    # that were removed have no block size.
    return {
        (ggml.ggml_type_name(kind) or b"").decode().upper(): TensorType(
            kind, block_size, ggml.ggml_type_size(kind)
        )
        for kind in range(llama_cpp.GGML_TYPE_COUNT)
        if (block_size := ggml.ggml_blck_size(kind))
    }


def load_backends() -> None:
    """Load the backends of a build that keeps them in separate libraries; harmless otherwise.

    By path: the engine's own search would also load what lies in the working directory.
    """
    ggml = _ggml.libggml
    if ggml.ggml_backend_reg_count() == 0:
        ggml.ggml_backend_load_all_from_path(str(_ggml.libggml_base_path).encode())
