"""Load a checkpoint the way anybody does who has it: with transformers, from its folder."""

from __future__ import annotations

import torch
from transformers import AutoModelForCausalLM

from quantize.gptq_worker.main import Mouth, RefusedError
from quantize.gptq_worker.protocol import Load, Loaded, Started
from quantize.gptq_worker.reading import load_tokenizer, versions


def load(job: Load, mouth: Mouth) -> None:
    """Do `job`. Raises RefusedError where what the model predicts is no number."""
    mouth.say(Started(versions(), "cpu", 1))
    tokenizer = load_tokenizer(job.folder)
    model = AutoModelForCausalLM.from_pretrained(
        job.folder, device_map="cpu", local_files_only=True, trust_remote_code=False
    )
    linear = [module for module in model.modules() if hasattr(module, "qweight")]
    tokens = tokenizer("The quick brown fox", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        logits = model(tokens).logits
    if not torch.isfinite(logits).all():
        raise RefusedError(f"{job.folder} gives logits that are no numbers: the checkpoint is broken")
    mouth.say(Loaded(type(linear[0]).__name__ if linear else "", len(linear)))
