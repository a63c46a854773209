"""One model in two forms, a folder of safetensors and a GGUF, both with 32-bit floats: for tests of measures."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from quantize.architecture import from_hf_config, gguf_metadata, tensors
from tests.quantize.smollm2 import smollm2
from tests.quantize.tiny_folders import make_tiny_folder

# Qwen 2's tensors are the same in both forms, but for their names.
_NAMES = (
    (r"token_embd", "model.embed_tokens"),
    (r"output_norm", "model.norm"),
    (r"blk\.(\d+)\.attn_norm", r"model.layers.\1.input_layernorm"),
    (r"blk\.(\d+)\.ffn_norm", r"model.layers.\1.post_attention_layernorm"),
    (r"blk\.(\d+)\.attn_output", r"model.layers.\1.self_attn.o_proj"),
    (r"blk\.(\d+)\.attn_([qkv])", r"model.layers.\1.self_attn.\2_proj"),
    (r"blk\.(\d+)\.ffn_(gate|up|down)", r"model.layers.\1.mlp.\2_proj"),
)


def make_two_forms(folder: Path, *, noise: float) -> tuple[Path, Path]:
    """A tiny Qwen 2 with definite opinions, each weight changed by `noise` of its size: its folder and its GGUF."""
    numpy = pytest.importorskip("safetensors.numpy")
    plain = folder / "plain"
    make_tiny_folder("qwen2", plain, dtype="float32")
    weights = numpy.load_file(plain / "model.safetensors")
    draw = np.random.default_rng(7)
    for name, values in weights.items():
        larger = 6 if name == "model.norm.weight" else 4 if "_proj.weight" in name else 1
        change = 1 + noise * draw.standard_normal(values.shape)
        weights[name] = (larger * change * values).astype(np.float32)
    shutil.move(plain, folder / "model")
    numpy.save_file(weights, folder / "model" / "model.safetensors", metadata={"format": "pt"})
    _write_gguf(folder / "model", weights, folder / "model.gguf")
    return folder / "model", folder / "model.gguf"


def _write_gguf(folder: Path, weights: dict[str, npt.NDArray[np.float32]], path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    arch = from_hf_config(config)
    writer = gguf.GGUFWriter(path, arch.name)
    kinds = {
        int: gguf.GGUFValueType.UINT32,
        float: gguf.GGUFValueType.FLOAT32,
        str: gguf.GGUFValueType.STRING,
    }
    metadata = gguf_metadata(arch) | {f"{arch.name}.attention.layer_norm_rms_epsilon": config["rms_norm_eps"]}
    for key, value in metadata.items():
        if key != "general.architecture":
            writer.add_key_value(key, value, kinds[type(value)])
    for key, field in gguf.GGUFReader(smollm2()).fields.items():
        if key.startswith("tokenizer.ggml."):
            # Transformers splits words as Qwen 2 does, whatever tokenizer.json says.
            value = "qwen2" if key == "tokenizer.ggml.pre" else field.contents()
            writer.add_key_value(key, value, field.types[0], field.types[-1])
    for tensor in tensors(arch):
        writer.add_tensor(tensor.name, weights[_hub_name(tensor.name)])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _hub_name(name: str) -> str:
    stem, kind = name.rsplit(".", 1)
    for pattern, replacement in _NAMES:
        if re.fullmatch(pattern, stem):
            return f"{re.sub(pattern, replacement, stem)}.{kind}"
    raise KeyError(name)
