"""How many bytes a tokenizer takes in a GGUF file.

The engine sizes tensors exactly and knows nothing of the tokenizer, which is a few megabytes in the header: for
each token its text, its type (4 bytes), with SentencePiece a score (4 bytes), with byte-pair encoding about one
merge. A string costs 8 bytes for its length besides its text. Bytes per token, from published GGUF files:
Llama-3 7.8 MB for 128,256 tokens, Qwen2.5 5.9 MB for 151,936, SentencePiece 23-25. Text of the model (chat
template, names) adds about 10 kB. A kind guessed wrong moves the file's size by less than 1% of a 500 MB file.
"""

from __future__ import annotations

from quantize.architecture import Architecture

SENTENCEPIECE_BYTES = 24
BYTE_PAIR_BYTES = 45
OTHER_TEXT_BYTES = 10_000

# Vocabularies known by their size.
_MEASURED = {128_256: 61, 151_936: 39, 152_064: 39}
_SENTENCEPIECE = ("gemma", "minicpm", "internlm2", "plamo")


def tokenizer_bytes(arch: Architecture) -> int:
    """The tokenizer's share of the header, an estimate."""
    if arch.n_vocab in _MEASURED:
        per_token = _MEASURED[arch.n_vocab]
    elif arch.name.startswith(_SENTENCEPIECE) or (arch.name in ("llama", "phi3") and arch.n_vocab < 33_000):
        per_token = SENTENCEPIECE_BYTES
    else:
        per_token = BYTE_PAIR_BYTES
    return arch.n_vocab * per_token + OTHER_TEXT_BYTES
