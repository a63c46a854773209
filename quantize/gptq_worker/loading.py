"""Load a checkpoint the way anybody does who has it: with transformers, from its folder, and predict a little."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GPTQConfig

from quantize.gptq_worker.main import Mouth, RefusedError
from quantize.gptq_worker.protocol import Load, Loaded, Started
from quantize.gptq_worker.reading import load_tokenizer, versions

_PORTABLE = "gptq_torch"  # the kernel that takes every recipe


def load(job: Load, mouth: Mouth) -> None:
    """Do `job`. Raises RefusedError where what the model predicts is no number."""
    mouth.say(Started(versions(), "cpu", 1))
    tokens = load_tokenizer(job.folder)("The quick brown fox", return_tensors="pt")["input_ids"]
    try:
        kernel, matrices = _predict(job.folder, tokens, {})
    except RefusedError:
        raise
    except Exception:
        # The kernel that is chosen where nobody says which may refuse what another one takes.
        config = json.loads(Path(job.folder, "config.json").read_text("utf-8"))
        bits = config.get("quantization_config", {}).get("bits")
        if bits is None:
            raise
        traceback.print_exc()
        portable = GPTQConfig(bits=bits, backend=_PORTABLE)
        kernel, matrices = _predict(job.folder, tokens, {"quantization_config": portable})
        mouth.say(Loaded(kernel, matrices, needs_backend=_PORTABLE))
    else:
        mouth.say(Loaded(kernel, matrices, needs_backend=None))


def _predict(folder: str, tokens: torch.Tensor, options: dict[str, Any]) -> tuple[str, int]:
    """The class that holds the packed matrices, and how many there are."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, device_map="cpu", local_files_only=True, trust_remote_code=False, **options
    )
    packed = [module for module in model.modules() if hasattr(module, "qweight")]
    with torch.inference_mode():
        logits = model(tokens).logits
    if not torch.isfinite(logits).all():
        raise RefusedError(f"{folder} gives logits that are no numbers: the checkpoint is broken")
    return type(packed[0]).__name__ if packed else "none", len(packed)
