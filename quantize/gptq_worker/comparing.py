"""Two models read one text, and every prediction of the one is held against the other's.

The measure is that of `profiles.engine.binding.compare`, for models that live in torch: the same pieces of text, the
same predictions, the same formulas, so that numbers of either kind can stand in one table. Both models compute with
32-bit floats; the weights of a GPTQ checkpoint are unpacked layer by layer as they are used.
"""

from __future__ import annotations

import inspect
import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from profiles.engine.protocol import ChunkCompared
from quantize.gptq_worker.main import Mouth, RefusedError
from quantize.gptq_worker.packed import PackedLinear
from quantize.gptq_worker.protocol import Compare, Started
from quantize.gptq_worker.reading import cut, device_name, device_of, load_model, load_tokenizer, versions

LOGITS_BYTES = (
    1 << 28
)  # about so much of logits is held at once, 4 bytes x vocabulary a token, for either model
_PARTS = ("qweight", "qzeros", "scales", "g_idx")


def compare(job: Compare, mouth: Mouth) -> None:
    """Do `job`. Raises RefusedError for models or a text that cannot be compared."""
    device = device_of(job.device)
    built_tokenizer, tokenizer = load_tokenizer(job.built), load_tokenizer(job.source)
    if built_tokenizer.get_vocab() != tokenizer.get_vocab():
        raise RefusedError(f"{job.built} and {job.source} cannot be compared: their vocabularies differ")
    pieces = cut(tokenizer, job.text, job.context, job.chunks)
    # The packed model first: what it is unpacked from is gone before the other takes its place.
    built = _load_built(job.built, job.source).to(device)
    reference = load_model(job.source).to(device)
    mouth.say(Started(versions(), device_name(device), len(pieces)))
    for piece in pieces:
        with torch.inference_mode():
            mouth.say(_compare(built, reference, torch.tensor([piece], device=device), job))


def _load_built(folder: str, source: str) -> Any:
    quantization = json.loads(Path(folder, "config.json").read_text("utf-8")).get("quantization_config")
    if quantization is None:
        return load_model(folder)
    model = load_model(source)
    bits = quantization["bits"]
    with torch.inference_mode():
        for shard in sorted(Path(folder).glob("*.safetensors")):
            with safe_open(shard, framework="pt") as file:
                _put(model, file, bits, f"{folder} and {source} cannot be compared")
    return model


def _put(model: Any, file: Any, bits: int, trouble: str) -> None:
    """Replace weights of `model` by those in a shard of a checkpoint."""
    names = set(file.keys())
    state = model.state_dict()
    packed = {name.removesuffix(".qweight") for name in names if name.endswith(".qweight")}
    for module in sorted(packed):
        parent, _, leaf = module.rpartition(".")
        if f"{module}.weight" not in state:
            raise RefusedError(f"{trouble}: the source has no matrix {module}")
        parts = {part: file.get_tensor(f"{module}.{part}") for part in _PARTS}
        bias = file.get_tensor(f"{module}.bias") if f"{module}.bias" in names else None
        setattr(model.get_submodule(parent), leaf, PackedLinear(parts, bits, bias))
    for name in sorted(names):
        if name.rpartition(".")[0] in packed:
            continue
        if name not in state:
            raise RefusedError(f"{trouble}: the source has no weights {name}")
        state[name].copy_(file.get_tensor(name))


def _compare(built: Any, reference: Any, piece: torch.Tensor, job: Compare) -> ChunkCompared:
    """Predict the second half of `piece`, which is read in one go where the logits are few enough, or else in parts."""
    first, last = job.context // 2, job.context - 1  # the last token has no successor to predict
    at_once = max(1, LOGITS_BYTES // (4 * reference.config.get_text_config().vocab_size))
    models = (built, reference)
    arguments = [_cache_argument(model) for model in models]
    caches: list[Any] = [None, None]
    rows: list[list[float]] = [[], [], [], []]
    start, read = first, 0
    while start < last:
        end = min(start + at_once, last)
        logits: list[torch.Tensor] = []
        for i, (model, argument) in enumerate(zip(models, arguments, strict=True)):
            outcome = model(
                piece[:, read:end],
                use_cache=end < last,
                logits_to_keep=end - start,
                **{argument: caches[i]},
            )
            caches[i] = outcome[argument] if end < last else None
            logits.append(outcome.logits[0, start - end :])
        compared = compare_rows(logits[0], logits[1], piece[0, start + 1 : end + 1])
        for column, values in zip(rows, compared, strict=True):
            column += values
        start = read = end
    if not all(map(math.isfinite, (number for column in rows[:3] for number in column))):
        raise RefusedError(
            f"{job.built} or {job.source} gives logits that are no numbers: the files are broken"
        )
    nll, reference_nll, divergence, same = rows
    return ChunkCompared(tuple(nll), tuple(reference_nll), tuple(divergence), tuple(map(bool, same)))


def _cache_argument(model: Any) -> str:
    """What `model` calls the cache it takes and gives back: transformers 5.24 renamed it."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def compare_rows(
    built: torch.Tensor, reference: torch.Tensor, targets: torch.Tensor
) -> tuple[list[float], list[float], list[float], list[float]]:
    """-log q(target), -log p(target), the divergence D(p || q) in nats, and whether p and q have the same top.

    By row: p is the reference's distribution and q the built model's, softmax of their logits.
    """
    columns: tuple[list[float], list[float], list[float], list[float]] = ([], [], [], [])
    for built_row, reference_row, target in zip(built, reference, targets, strict=True):
        log_q = built_row.double().log_softmax(0)
        log_p = reference_row.double().log_softmax(0)
        columns[0].append(-log_q[target].item())
        columns[1].append(-log_p[target].item())
        columns[2].append((log_p.exp() * (log_p - log_q)).sum().item())
        columns[3].append(float(built_row.argmax() == reference_row.argmax()))
    return columns
