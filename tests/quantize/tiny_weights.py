"""Model files of some kilobytes that are what they claim to be, with weights that mean nothing."""

from __future__ import annotations

import json
import random
from pathlib import Path

from quantize.gguf_writer import MetadataValue, TensorInfo, header


def tiny_gguf(kind: str = "F16", *, rows: int = 64, extra: dict[str, MetadataValue] | None = None) -> bytes:
    """A GGUF with one matrix of `rows` x 256 weights of type `kind` and one norm."""
    metadata: dict[str, MetadataValue] = {
        "general.architecture": "llama",
        "general.license": "apache-2.0",
        **(extra or {}),
    }
    head, size = header(
        metadata, [TensorInfo("blk.0.attn_q.weight", (256, rows), kind), TensorInfo("norm", (256,), "F32")]
    )
    return head + random.Random(rows).randbytes(size)


def tiny_split_gguf(kind: str = "BF16", parts: int = 2) -> list[bytes]:
    """The parts of a split GGUF, as llama-gguf-split makes them: only the first says what model it is."""
    contents = []
    for number in range(parts):
        own: dict[str, MetadataValue] = {
            "split.no": number,
            "split.count": parts,
            "split.tensors.count": parts,
        }
        if number == 0:
            own = {"general.architecture": "llama", **own}
        head, size = header(own, [TensorInfo(f"blk.{number}.attn_q.weight", (256, 32), kind)])
        contents.append(head + random.Random(number).randbytes(size))
    return contents


def tiny_safetensors(kind: str = "BF16", *, rows: int = 64, name: str = "model.layers.0.q.weight") -> bytes:
    """A safetensors file with one matrix of `rows` x 64 weights of type `kind`."""
    width = {"F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "I32": 4, "U8": 1}[kind]
    size = rows * 64 * width
    entry = {"dtype": kind, "shape": [rows, 64], "data_offsets": [0, size]}
    head = json.dumps({"__metadata__": {"format": "pt"}, name: entry}).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + random.Random(rows).randbytes(size)


def tiny_model(shards: int = 1, kind: str = "BF16") -> dict[str, bytes]:
    """The files of a Hugging Face model: config, tokenizer, licence and safetensors in so many shards."""
    files = {
        "config.json": b'{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}',
        "tokenizer.json": b'{"version": "1.0"}',
        "tokenizer_config.json": b"{}",
        "LICENSE": b"Apache License, Version 2.0\n",
    }
    if shards == 1:
        return {**files, "model.safetensors": tiny_safetensors(kind)}
    names = [f"model-{number:05}-of-{shards:05}.safetensors" for number in range(1, shards + 1)]
    for number, name in enumerate(names):
        files[name] = tiny_safetensors(kind, rows=64 + number, name=f"layer.{number}")
    index = {"metadata": {}, "weight_map": {f"layer.{number}": name for number, name in enumerate(names)}}
    return {**files, "model.safetensors.index.json": json.dumps(index).encode()}


def write_model(folder: Path, files: dict[str, bytes]) -> Path:
    """Write `files` to `folder`, which is returned."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder
