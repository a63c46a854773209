"""A GGUF with the right tensors and no data: what the engine needs to say how large things are.

The header is real: metadata, a tokenizer of the right number of tokens, name, shape and type of every tensor
as the converter writes an F16 file. The tensor data is a hole in a sparse file: a model of 30 billion
parameters takes some kilobytes of disk.
"""

from __future__ import annotations

from pathlib import Path

from quantize.architecture import Architecture, gguf_metadata, tensors
from quantize.gguf_writer import MetadataValue, TensorInfo, header

NO_TOKENIZER: dict[str, MetadataValue] = {"tokenizer.ggml.model": "no_vocab"}
"""The engine then makes up the tokens, so that neither side handles 256,000 strings."""

_F16_FILE = 1  # llama_ftype of a file whose matrices are F16


def write_skeleton(arch: Architecture, path: Path) -> int:
    """Write the skeleton of `arch` to `path`, replacing what is there; returns its nominal size in bytes.

    It has no tokenizer: it can be quantized (dry run) and given a context, but cannot turn text into tokens.
    """
    metadata = {"general.file_type": _F16_FILE, **NO_TOKENIZER, **gguf_metadata(arch)}
    head, data_bytes = header(metadata, _infos(arch))
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + data_bytes)
    return len(head) + data_bytes


def header_bytes(arch: Architecture) -> int:
    """Size of the header of a GGUF of `arch`, tokenizer not counted: the same for every quantization."""
    return len(header(gguf_metadata(arch), _infos(arch))[0])


def _infos(arch: Architecture) -> list[TensorInfo]:
    return [TensorInfo(tensor.name, tensor.shape, tensor.source_type) for tensor in tensors(arch)]
