"""Functions of ggml, the tensor library below llama.cpp, that llama-cpp-python gives no signature."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import NamedTuple

import llama_cpp
from llama_cpp import _ggml

from profiles.engine.binding.log import RefusedError


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


# --- tensors while they are computed -------------------------------------------------------------------------


class Tensor(ctypes.Structure):
    """`struct ggml_tensor` of ggml/include/ggml.h; `check_tensor_layout` says whether it still is."""


Tensor._fields_ = [
    ("type", ctypes.c_int),
    ("buffer", ctypes.c_void_p),
    ("ne", ctypes.c_int64 * 4),
    ("nb", ctypes.c_size_t * 4),
    ("op", ctypes.c_int),
    ("op_params", ctypes.c_int32 * 16),
    ("flags", ctypes.c_int32),
    ("src", ctypes.POINTER(Tensor) * 10),
    ("view_src", ctypes.c_void_p),
    ("view_offs", ctypes.c_size_t),
    ("data", ctypes.c_void_p),
    ("name", ctypes.c_char * 64),
    ("extra", ctypes.c_void_p),
    ("padding", ctypes.c_char * 8),
]

_OBJECT_BYTES = 32  # of `struct ggml_object`, which ggml keeps in front of every tensor


def check_tensor_layout() -> None:
    """Raises RefusedError where this engine's tensors are not laid out as `Tensor`."""
    ggml = _ggml.libggml
    ggml.ggml_tensor_overhead.restype = ctypes.c_size_t
    if ggml.ggml_tensor_overhead() != _OBJECT_BYTES + ctypes.sizeof(Tensor):
        raise RefusedError("this version of slm-advisor does not know this engine's tensors; install another")


@lru_cache(maxsize=1)
def operations() -> dict[str, int]:
    """The numbers of the engine's operations by name: "MUL_MAT"."""
    name = _ggml.libggml.ggml_op_name
    name.restype = ctypes.c_char_p
    count = 64  # more than the first operations, less than there are: the engine does not check the range
    return {name(number).decode(): number for number in range(count)}


def tensor_bytes(tensor: Tensor) -> int:
    """Bytes from the tensor's first element to its last, gaps of a view included."""
    count = _ggml.libggml.ggml_nbytes
    count.restype = ctypes.c_size_t
    size: int = count(ctypes.byref(tensor))
    return size


def tensor_data(tensor: Tensor) -> ctypes.Array[ctypes.c_char]:
    """The tensor's bytes: in place where they are in main memory, copied where an accelerator holds them."""
    ggml = _ggml.libggml
    ggml.ggml_backend_buffer_is_host.restype = ctypes.c_bool
    size = tensor_bytes(tensor)
    if ggml.ggml_backend_buffer_is_host(ctypes.c_void_p(tensor.buffer)):
        return (ctypes.c_char * size).from_address(tensor.data)
    copy = ctypes.create_string_buffer(size)
    ggml.ggml_backend_tensor_get(ctypes.byref(tensor), copy, ctypes.c_size_t(0), ctypes.c_size_t(size))
    return copy
