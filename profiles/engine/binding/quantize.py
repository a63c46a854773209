"""What the engine would make of a model's tensors, read from the log of a dry run."""

from __future__ import annotations

import ctypes
import re

import llama_cpp

from profiles.engine.binding.ggml import tensor_types
from profiles.engine.binding.log import UNREADABLE, RefusedError, collected_log
from profiles.engine.protocol import QuantizeDryRun, QuantizePlan, TensorPlan

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
    with collected_log() as log:
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
        raise RefusedError(f"{UNREADABLE} {request.path}", text)
    return QuantizePlan(tensors)


def _tensor_bytes(kind: str, shape: str) -> int:
    row, *rest = (int(n) for n in shape.split(","))
    packed = tensor_types()[kind.upper()]
    bytes_ = row // packed.block_size * packed.type_size
    for n in rest:
        bytes_ *= n
    return bytes_
