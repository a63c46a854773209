"""Quantize a folder of weights with GPTQModel and write the checkpoint as its readers expect it.

GPTQModel writes config.json, the tokenizer and generation settings anew, with what it repaired in them and with paths
of this machine. Of its output only the weights and the description of the quantization are taken; the rest is the
source's own, byte for byte.
"""

from __future__ import annotations

import json
import math
import random
import resource
import shutil
import struct
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gptqmodel
import numpy as np
import torch
from safetensors import safe_open

from quantize.gptq_worker.main import Mouth, RefusedError
from quantize.gptq_worker.protocol import Quantize, Quantized, Started, Step
from quantize.gptq_worker.reading import cut, device_name, device_of, load_tokenizer, versions
from quantize.safetensors_header import read_weights

_DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16}
_NAMES = {"F16": "float16", "BF16": "bfloat16"}
# What stands beside the weights and is the same for the quantized model.
_COPIED = ("*.json", "*.txt", "*.model", "*.jinja", "LICENSE*", "NOTICE*", "USE_POLICY*")
# What is written anew; a manifest says of the source how it was made.
_NOT_COPIED = frozenset(
    {"config.json", "quantize_config.json", "model.safetensors.index.json", "manifest.json"}
)
# How the weights are packed, for their readers, and how they came to be; no settings of the machine.
_DESCRIPTION = (
    ("bits", "group_size", "desc_act", "sym", "lm_head", "quant_method", "checkpoint_format", "pack_dtype"),
    (
        "quantizer",
        "uri",
        "damp_percent",
        "damp_auto_increment",
        "static_groups",
        "true_sequential",
        "mse",
        "act_group_aware",
    ),
)
_SEED = 0


def quantize(job: Quantize, mouth: Mouth) -> None:
    """Do `job`. Raises RefusedError for what GPTQModel does not take."""
    device = device_of(job.device)
    pieces = cut(load_tokenizer(job.folder), job.text, job.context, job.samples)
    random.seed(_SEED)
    np.random.seed(_SEED)
    torch.manual_seed(_SEED)
    torch.use_deterministic_algorithms(True, warn_only=True)
    model = _load(job, device)
    _check_names(model, job.folder)
    layers = _layers(model)
    mouth.say(Started(versions(), device_name(device), layers))
    model.layer_callback = _Progress(mouth, layers)
    log = model.quantize([{"input_ids": [piece], "attention_mask": [[1] * len(piece)]} for piece in pieces])
    _check_log(log)
    mouth.say(Step("writing", layers, layers))
    written = Path(job.scratch, "checkpoint")
    model.save(str(written))
    modules = _take(written, Path(job.folder), Path(job.out), job.rest_dtype)
    mouth.say(Quantized(modules, len(pieces), _peak_memory_bytes()))


def _load(job: Quantize, device: torch.device) -> Any:
    config = gptqmodel.QuantizeConfig(
        bits=job.bits,
        group_size=job.group_size,
        desc_act=job.act_order,
        act_group_aware=not job.act_order and job.group_size > 0,  # orders groups, where there are several
        sym=True,
        format="gptq",
        device=str(device),
        offload_to_disk_path=str(Path(job.scratch, "offload")),
        fallback=None,  # rounding to the nearest in silence would be no GPTQ
    )
    # Processors compute 16-bit floats slowly or not at all; on a GPU they halve the memory.
    dtype = torch.float32 if device.type == "cpu" else _DTYPES[job.rest_dtype]
    try:
        return gptqmodel.GPTQModel.load(job.folder, config, dtype=dtype, trust_remote_code=False)
    except (TypeError, NotImplementedError, KeyError, ValueError) as error:
        raise RefusedError(f"GPTQModel cannot take the model in {job.folder}: {error}") from error


def _check_names(model: Any, folder: str) -> None:
    """Raises RefusedError where GPTQModel takes weights apart or renames them: other readers would not find them."""
    known = model.model.state_dict().keys()
    lost = sorted({tensor.name for tensor in read_weights(Path(folder)).tensors} - known)
    if lost:
        raise RefusedError(
            f"GPTQModel does not keep the weights of {folder} as they are ({lost[0]} is renamed or taken apart): other "
            "programs could not read the checkpoint; take a GGUF quantization"
        )


def _layers(model: Any) -> int:
    config = model.model.config
    layers: int = getattr(config, "text_config", config).num_hidden_layers
    return layers


class _Progress:
    """GPTQModel calls it when a layer is done: once when computed, once more when it is put away."""

    def __init__(self, mouth: Mouth, layers: int) -> None:
        self._mouth = mouth
        self._layers = layers

    def layer_complete(self, *, layer_idx: int, submodule_finalized: bool) -> None:
        if not submodule_finalized:
            self._mouth.say(Step("quantizing", layer_idx + 1, self._layers))


def _check_log(log: dict[str, list[dict[str, Any]]]) -> None:
    """Raises RefusedError where a matrix was rounded in another way than by GPTQ."""
    for entry in (entry for entries in log.values() for entry in entries):
        loss = str(entry.get("loss"))
        try:
            float(loss)
        except ValueError:
            raise RefusedError(
                f"layer {entry['layer']}, {entry['module']}: GPTQ gave no result ({loss})"
            ) from None


def _take(written: Path, source: Path, out: Path, rest_dtype: str) -> tuple[str, ...]:
    """Put the checkpoint together in `out`; the names of the matrices that were quantized."""
    modules = _join(sorted(written.glob("*.safetensors")), out / "model.safetensors", rest_dtype)
    description = json.loads((written / "config.json").read_text("utf-8"))["quantization_config"]
    top, meta = _DESCRIPTION
    kept = {key: description[key] for key in top}
    kept["meta"] = {key: description["meta"][key] for key in meta}
    config = json.loads((source / "config.json").read_text("utf-8"))
    dtype_key = "torch_dtype" if "torch_dtype" in config else "dtype"
    _write(out / "config.json", {**config, dtype_key: _NAMES[rest_dtype], "quantization_config": kept})
    _write(out / "quantize_config.json", kept)  # where auto-gptq had it, and vLLM still looks
    for pattern in _COPIED:
        for path in source.glob(pattern):
            if path.is_file() and path.name not in _NOT_COPIED:
                shutil.copyfile(path, out / path.name)
    return modules


def _join(shards: list[Path], out: Path, rest_dtype: str) -> tuple[str, ...]:
    """Write the tensors of all `shards` to `out`, what is not quantized with 16 bits, one tensor in memory at a time.

    The safetensors format is a length, a header in JSON and the data (github.com/huggingface/safetensors).
    """
    with ExitStack() as stack:
        homes: dict[str, Any] = {}
        for shard in shards:
            file = stack.enter_context(safe_open(shard, framework="pt"))
            homes |= dict.fromkeys(file.keys(), file)
        modules = tuple(sorted(name.removesuffix(".qweight") for name in homes if name.endswith(".qweight")))
        packed = {
            f"{module}.{part}"
            for module in modules
            for part in ("qweight", "qzeros", "scales", "g_idx", "bias")
        }
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        place = 0
        # Larger types first, as the library writes them, so that every tensor is aligned.
        order = sorted(homes, key=lambda name: (homes[name].get_slice(name).get_dtype() != "I32", name))
        for name in order:
            slice_ = homes[name].get_slice(name)
            dtype = slice_.get_dtype() if name in packed else rest_dtype
            size = math.prod(slice_.get_shape()) * (4 if dtype == "I32" else 2)
            header[name] = {
                "dtype": dtype,
                "shape": slice_.get_shape(),
                "data_offsets": [place, place + size],
            }
            place += size
        head = json.dumps(header, separators=(",", ":")).encode()
        head += b" " * (-len(head) % 8)
        with out.open("wb") as target:
            target.write(struct.pack("<Q", len(head)) + head)
            for name in order:
                tensor = homes[name].get_tensor(name)
                if name not in packed:
                    tensor = _rest(tensor, name, _DTYPES[rest_dtype])
                target.write(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return modules


def _rest(tensor: torch.Tensor, name: str, dtype: torch.dtype) -> torch.Tensor:
    cast = tensor.to(dtype)
    if not torch.isfinite(cast).all():
        raise RefusedError(
            f"{name} has values that {dtype} does not hold: convert the source to bfloat16 first"
        )
    return cast


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
