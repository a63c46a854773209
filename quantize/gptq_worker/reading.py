"""A text as tokens, cut as llama.cpp's tools cut it, and the parts of a model folder, from this disk alone."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import torch

from quantize.gptq_worker.main import RefusedError
from quantize.gptq_worker.protocol import Device

LEAST_CHUNKS = 2  # llama.cpp's tools refuse a text that is shorter


def versions() -> dict[str, str]:
    """Of the libraries that decide about the result."""
    names = ("gptqmodel", "torch", "transformers", "tokenizers", "safetensors")
    return {name: importlib.metadata.version(name) for name in names}


def device_of(wish: Device) -> torch.device:
    """Raises RefusedError where CUDA is asked for and is not there."""
    if wish == "cpu" or (wish == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RefusedError(
            f"torch {torch.__version__} finds no CUDA device; use the CPU, or install torch for it"
        )
    return torch.device("cuda:0")


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def load_tokenizer(folder: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def load_model(folder: str) -> Any:
    """The model in full precision: 32-bit floats, since processors are slow or inexact with 16."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True
    )
    return model.eval()


def cut(tokenizer: Any, path: str, context: int, limit: int | None) -> list[list[int]]:
    """The text at `path` in pieces of `context` tokens; the rest is left out.

    As llama.cpp's tools do it: the text is tokenized as a whole, special tokens written in it are text, and a token
    that begins every text takes the place of each piece's first token.
    """
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedError(f"{path} cannot be read: {error}") from None
    begins = _first_token(tokenizer)
    tokens = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
    if begins is not None:
        tokens = [begins, *tokens]
    count = len(tokens) // context
    if count < LEAST_CHUNKS:
        raise RefusedError(
            f"{path} has {len(tokens):,} tokens; pieces of {context:,} need {LEAST_CHUNKS * context:,} or more"
        )
    count = min(count, limit or count)
    pieces = [tokens[i * context : (i + 1) * context] for i in range(count)]
    return pieces if begins is None else [[begins, *piece[1:]] for piece in pieces]


def _first_token(tokenizer: Any) -> int | None:
    """The token that begins every text, if there is one. Raises RefusedError for a tokenizer that ends texts too."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    dressed = tokenizer("a")["input_ids"]
    if dressed == plain:
        return None
    if dressed[1:] == plain:
        first: int = dressed[0]
        return first
    raise RefusedError("the model is no plain language model: it ends or frames every text it is given")
