"""Quantize a model's tensors, or say in a dry run what would become of them.

The engine tells what it does in its log and nowhere else, so that is where both answers are read from.
"""

from __future__ import annotations

import ctypes
import re
from typing import Any

import llama_cpp

from profiles.engine.binding.ggml import tensor_types
from profiles.engine.binding.log import UNREADABLE, RefusedError, collected_log
from profiles.engine.protocol import (
    Quantize,
    Quantized,
    QuantizeDryRun,
    QuantizePlan,
    TensorPlan,
    TypeChoices,
)

_TENSOR = re.compile(
    r"^\[ *\d+/ *\d+\] (?P<name>\S+) +- \[(?P<shape>[\d, ]+)\], type = +(?P<old>\w+), size = "
    r"[^()\n]+(?:\((?P<new>\w+)\))?$",
    re.MULTILINE,
)
_TENSOR_COUNT = re.compile(r"^\[ *\d+/ *(\d+)\]", re.MULTILINE)
_FALLBACK = re.compile(r"(\d+) of \d+ tensor\(s\) required fallback quantization")

_MOST_STRING_BYTES = 127  # of an added string: a fixed array that ends with a zero
_KV_INT, _KV_STR = 0, 3  # llama_model_kv_override_type


def quantize_dry_run(request: QuantizeDryRun) -> QuantizePlan:
    parameters = _Parameters(request.ftype, request.types)
    parameters.value.dry_run = True
    parameters.value.nthread = 1
    if request.imatrix:
        # The mixture asks only whether there is an importance matrix; a dry run never looks into it.
        parameters.set_imatrix({"placeholder": bytes(4)})
    text = _run(request.path, "", parameters)
    tensors = tuple(
        TensorPlan(line["name"], kind := line["new"] or line["old"], _tensor_bytes(kind, line["shape"]))
        for line in _TENSOR.finditer(text)
    )
    count = _TENSOR_COUNT.search(text)
    if count is None or len(tensors) != int(count[1]):
        raise RefusedError(f"{UNREADABLE} {request.path}", text)
    return QuantizePlan(tensors)


def quantize(request: Quantize) -> Quantized:
    parameters = _Parameters(request.ftype, request.types)
    parameters.value.nthread = request.threads or 0  # 0: the engine takes what there is
    if request.imatrix:
        parameters.set_imatrix(request.imatrix)
    if request.metadata:
        parameters.set_metadata(request.metadata)
    text = _run(request.path, request.out, parameters)
    fallback = _FALLBACK.search(text)
    return Quantized(int(fallback[1]) if fallback else 0)


def _run(path: str, out: str, parameters: _Parameters) -> str:
    """The engine's log. Raises RefusedError."""
    with collected_log() as log:
        failed = llama_cpp.llama_model_quantize(path.encode(), out.encode(), ctypes.byref(parameters.value))
    if failed:
        raise RefusedError(
            f"the engine cannot quantize {path} to file type {parameters.value.ftype}", log.text()
        )
    return log.text()


class _Parameters:
    """The engine's parameters, and the arrays they point to, which must live as long as they are used."""

    def __init__(self, ftype: int, types: TypeChoices) -> None:
        self.value: Any = llama_cpp.llama_model_quantize_default_params()
        self.value.ftype = ftype
        self._alive: list[object] = []
        if types.output is not None:
            self.value.output_tensor_type = types.output
        if types.embedding is not None:
            self.value.token_embedding_type = types.embedding
        if types.overrides:
            self.value.tt_overrides = self._array(
                llama_cpp.llama_model_tensor_override,
                [(pattern.encode(), kind) for pattern, kind in types.overrides],
            )

    def set_imatrix(self, means: dict[str, bytes]) -> None:
        rows = []
        for name, data in means.items():
            numbers = (ctypes.c_float * (len(data) // 4)).from_buffer_copy(data)
            self._alive.append(numbers)
            rows.append((name.encode(), ctypes.cast(numbers, ctypes.POINTER(ctypes.c_float)), len(numbers)))
        self.value.imatrix = self._array(llama_cpp.llama_model_imatrix_data, rows)

    def set_metadata(self, metadata: dict[str, int | str]) -> None:
        rows = []
        for key, number_or_text in metadata.items():
            value = llama_cpp.llama_model_kv_override_value()
            if isinstance(number_or_text, int):
                value.val_i64 = number_or_text
                rows.append((_KV_INT, key.encode(), value))
            else:
                value.val_str = _cut(number_or_text)
                rows.append((_KV_STR, key.encode(), value))
        self.value.kv_overrides = self._array(llama_cpp.llama_model_kv_override, rows)

    def _array(self, kind: Any, rows: list[tuple[Any, ...]]) -> Any:
        """An array of structs and, at its end, one of zeros."""
        array = (kind * (len(rows) + 1))(*rows)
        self._alive.append(array)
        return array


def _tensor_bytes(kind: str, shape: str) -> int:
    row, *rest = (int(n) for n in shape.split(","))
    packed = tensor_types()[kind.upper()]
    bytes_ = row // packed.block_size * packed.type_size
    for n in rest:
        bytes_ *= n
    return bytes_


def _cut(text: str) -> bytes:
    """As much of the text as there is room for, without half of a character."""
    return text.encode()[:_MOST_STRING_BYTES].decode(errors="ignore").encode()
