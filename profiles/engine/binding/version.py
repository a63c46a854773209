"""Which engine this is."""

from __future__ import annotations

import ctypes

import llama_cpp
from llama_cpp import _ggml

from profiles.engine.binding.devices import devices
from profiles.engine.protocol import EngineVersion


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
        devices=devices(),
    )
