"""The devices that the engine can compute on, as ggml's registry of backends has them."""

from __future__ import annotations

import ctypes
from typing import Any

from llama_cpp import _ggml

from profiles.engine.protocol import DeviceKind, EngineDevice

# ggml_backend_dev_type of ggml-backend.h, in its order; "meta" wraps others and is never listed by the registry.
_KINDS: tuple[DeviceKind, ...] = ("cpu", "gpu", "igpu", "accelerator")


def devices() -> tuple[EngineDevice, ...]:
    """Every device of every backend in the build, in the engine's order. A GPU's driver is started by asking."""
    count = _function("ggml_backend_dev_count", ctypes.c_size_t)
    get = _function("ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
    return tuple(_device(get(index)) for index in range(count()))


def _device(handle: int) -> EngineDevice:
    def text(name: str, of: int) -> str:
        value: bytes | None = _function(name, ctypes.c_char_p, ctypes.c_void_p)(of)
        return (value or b"").decode(errors="replace").strip()

    kind = _function("ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)(handle)
    registry = _function("ggml_backend_dev_backend_reg", ctypes.c_void_p, ctypes.c_void_p)(handle)
    free, total = ctypes.c_size_t(0), ctypes.c_size_t(0)
    size = ctypes.POINTER(ctypes.c_size_t)
    _function("ggml_backend_dev_memory", None, ctypes.c_void_p, size, size)(
        handle, ctypes.byref(free), ctypes.byref(total)
    )
    return EngineDevice(
        name=text("ggml_backend_dev_name", handle),
        description=text("ggml_backend_dev_description", handle),
        kind=_KINDS[kind] if kind < len(_KINDS) else "accelerator",
        backend=text("ggml_backend_reg_name", registry),
        free_bytes=free.value if total.value else None,
        total_bytes=total.value or None,
    )


def _function(name: str, returns: Any, *takes: Any) -> Any:
    function = getattr(_ggml.libggml, name)
    function.restype, function.argtypes = returns, takes
    return function
