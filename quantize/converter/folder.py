"""What is in a model's folder, what of it the converter may see, and why a folder is refused.

The converter gets a folder of its own with links to the weights and to what describes them. Nothing in it can be
run: no Python, no pickles, and in its JSON no mention of code to load.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from quantize.errors import ConversionError
from quantize.json_file import read_json
from quantize.safetensors_header import INDEX, Weights, read_weights

# What describes weights. Everything else stays out of the converter's sight.
_SHOWN = ("*.json", "*.jsonl", "*.txt", "*.jinja", "*.model", "*.tiktoken", "README.md")
_MAX_SHOWN_BYTES = 1 << 28
# One of these must be there; what names them first is what the converter looks for first.
_TOKENIZERS = (
    ("tokenizer.model",),
    ("tokenizer.json",),
    ("vocab.json", "merges.txt"),
    ("tekken.json",),
    ("tokenizer.jsonl",),
    ("vocab.txt",),
)


# Models whose share of rotated dimensions the converter wants under its old name, and what holds where none is given.
_ROTARY = {"gpt_neox": 0.25, "cohere2": 1.0}
# What transformers 5 calls the blocks of Granite 4, and what the converter looks for.
_GRANITE_BLOCKS = {"linear_attention": "mamba", "full_attention": "attention"}


class ModelFolder(msgspec.Struct, frozen=True):
    """A folder that may be converted. `quantized`: how its weights were quantized, None for full precision."""

    path: Path
    config: dict[str, Any]
    weights: Weights
    code: tuple[str, ...]  # classes that it wants loaded from code of its own
    quantized: str | None = None

    @property
    def architecture(self) -> str:
        """The class that config.json names: "LlamaForCausalLM"."""
        named = self.config.get("architectures")
        first = named[0] if isinstance(named, list) and named else None
        return first if isinstance(first, str) else "?"

    @property
    def lacks_prediction(self) -> bool:
        """Whether it is of a kind that has blocks to predict further tokens with, and was saved without them."""
        predicts = str(self.config.get("model_type")).startswith(("qwen3_5", "qwen3_next"))
        return predicts and not any(tensor.name.startswith("mtp.") for tensor in self.weights.tensors)

    @property
    def n_vocab(self) -> int:
        """The number of tokens that config.json names; 0 where it names none."""
        text = self.config.get("text_config")
        found = (
            {**self.config, **text}.get("vocab_size")
            if isinstance(text, dict)
            else self.config.get("vocab_size")
        )
        return found if isinstance(found, int) and 0 <= found < 1 << 24 else 0


def read_folder(path: Path) -> ModelFolder:
    """The folder at `path`, checked as far as its headers go.

    Raises ConversionError for one that cannot be converted, InvalidModelError for a damaged one.
    """
    if not path.is_dir():
        raise ConversionError(
            f"{path} is no folder: give the folder with config.json and the safetensors files"
        )
    if not path.joinpath("config.json").is_file():
        if path.joinpath("adapter_config.json").is_file():
            raise ConversionError(
                f"{path} holds an adapter (LoRA) and no model: merge it into its model first"
            )
        raise ConversionError(f"{path} has no config.json: give the folder of a whole model")
    config = read_json(path / "config.json")
    if not any(path.glob("model*.safetensors")) and not path.joinpath(INDEX).is_file():
        raise ConversionError(_no_weights(path))
    if not any(all(path.joinpath(name).is_file() for name in names) for names in _TOKENIZERS) and not any(
        path.glob("*.tiktoken")
    ):
        raise ConversionError(
            f"{path} has no tokenizer: download tokenizer.json, or tokenizer.model, and tokenizer_config.json too"
        )
    tokenizer = path / "tokenizer_config.json"
    code = _code(config) + (_code(read_json(tokenizer)) if tokenizer.is_file() else ())
    quantization = config.get("quantization_config")
    method = quantization.get("quant_method") if isinstance(quantization, Mapping) else None
    return ModelFolder(path, config, read_weights(path), code, str(method) if method else None)


def _no_weights(path: Path) -> str:
    pickled = sorted(path.glob("*.bin")) + sorted(path.glob("*.pt")) + sorted(path.glob("*.pth"))
    if pickled:
        return (
            f"{path} holds its weights as pickles ({pickled[0].name}), which can run code when they are opened: "
            "take a revision with safetensors, or save the model again with safetensors"
        )
    return f"{path} holds no weights: there is no model*.safetensors"


def _code(content: Mapping[str, Any]) -> tuple[str, ...]:
    """What `auto_map` wants loaded: ("configuration_phi3.Phi3Config", ...)."""
    named = content.get("auto_map")
    if named is None:
        return ()
    values = named.values() if isinstance(named, Mapping) else [named]
    flat = [one for value in values for one in (value if isinstance(value, list) else [value])]
    return tuple(str(one) for one in flat if one)


def show(model: ModelFolder, place: Path) -> None:
    """Fill the empty folder `place` with what the converter may see of `model`."""
    for pattern in _SHOWN:
        for file in model.path.glob(pattern):
            if file.is_file() and file.stat().st_size <= _MAX_SHOWN_BYTES:
                place.joinpath(file.name).symlink_to(file.resolve())
    for file in model.weights.files:
        place.joinpath(file.name).symlink_to(file.resolve())
    _rewrite(place / "config.json", _plain_config(model.config))
    tokenizer = place / "tokenizer_config.json"
    if tokenizer.exists():
        _rewrite(tokenizer, _plain_tokenizer(read_json(tokenizer)))


def _rewrite(path: Path, content: dict[str, Any]) -> None:
    path.unlink()  # a link to the original
    path.write_bytes(msgspec.json.encode(content))


def _plain_config(config: dict[str, Any]) -> dict[str, Any]:
    """config.json without code, and with what the converter's transformers reads under an older name."""
    plain = _without_code(config)
    rope = config.get("rope_parameters")
    default = _ROTARY.get(str(config.get("model_type")))
    if default is not None and isinstance(rope, Mapping):
        plain.setdefault("rotary_pct", rope.get("partial_rotary_factor", default))
    blocks = config.get("layer_types")
    if config.get("model_type") == "granitemoehybrid" and isinstance(blocks, list):
        plain["layer_types"] = [_GRANITE_BLOCKS.get(str(block), block) for block in blocks]
    return plain


def _plain_tokenizer(config: dict[str, Any]) -> dict[str, Any]:
    """tokenizer_config.json without code, and what transformers 5 wrote said as transformers 4 says it."""
    plain = _without_code(config)
    if plain.get("tokenizer_class") == "TokenizersBackend":
        plain["tokenizer_class"] = "PreTrainedTokenizerFast"
    extra = plain.get("extra_special_tokens")
    if isinstance(extra, list):
        del plain["extra_special_tokens"]
        plain.setdefault("additional_special_tokens", extra)
    return plain


def _without_code(content: dict[str, Any]) -> dict[str, Any]:
    """The same without `auto_map`, at any depth."""
    return {
        key: _without_code(value) if isinstance(value, dict) else value
        for key, value in content.items()
        if key != "auto_map"
    }
