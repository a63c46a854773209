"""From a collected model (an entry of architectures.json) to its `Architecture`, or to why there is none.

The collection holds dimensions as config.json has them. What it lacks (which blocks have a sliding window,
rotary tensors, the engine's name for an architecture) stands with its sources in `data/architectures.toml`.
The parameter count is the proof: `published_parameters` compares it with what is stored on the Hub.
"""

from __future__ import annotations

import fnmatch
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from quantize.architecture import Architecture, parameter_count, tensors
from quantize.errors import QuantizeError

Check = Literal["exact", "within 0.5%", "unverified"]

_FACTS = Path(__file__).with_name("data") / "architectures.toml"


def architecture_of(entry: dict[str, Any]) -> tuple[Architecture | None, str | None]:
    """The architecture of an entry, and why llama.cpp cannot run it: one of the two is None."""
    for row in _facts()["unsupported"]:
        if _matches(entry, row):
            return None, row["reason"]
    fields = _dimensions(entry) | _groups(entry)
    rotary = None
    optional: list[str] = list(fields.get("optional", ()))
    for row in _facts()["fact"]:
        if _matches(entry, row):
            added = dict(row.get("set", {}))
            optional += added.pop("optional", [])
            fields |= added
            rotary = row.get("rotary", rotary)
    if unknown := [key for key in _REQUIRED if fields.get(key) is None]:
        return None, f"its dimensions are not known: {', '.join(unknown)}"
    if rotary is not None:
        fields["n_rot"] = int(fields["head_dim"] * rotary)
    fields["optional"] = tuple(optional)
    if "s" not in fields.get("pattern", "a"):
        fields.pop("window", None)  # the engine runs this model without its window
    try:
        arch = msgspec.convert(fields, Architecture)
        parameter_count(arch)
    except QuantizeError as error:
        return None, str(error)
    return arch, None


def published_parameters(entry: dict[str, Any], arch: Architecture | None) -> tuple[int, Check, str]:
    """Parameters of the text model, how the architecture compares with the published count, and what to know.

    With an architecture, the number is that of its tensors; otherwise what is published. Publishers disagree on
    whether buffers (what balances experts, the scale of a block) are parameters: with or without is exact.
    """
    published, note = _published(entry)
    if arch is None:
        return published, "unverified", note
    counted = parameter_count(arch)
    buffers = sum(t.n_elements for t in tensors(arch) if not t.counted and t.name.endswith(_BUFFERS))
    if published in (counted, counted + buffers):
        return counted, "exact", note
    off = abs(counted - published) / published
    if off <= 0.005:
        return counted, "within 0.5%", "; ".join(filter(None, (note, f"published: {published:,}")))
    return counted, "unverified", "; ".join(filter(None, (note, f"published: {published:,}, {off:.1%} off")))


def _published(entry: dict[str, Any]) -> tuple[int, str]:
    """The published count of the text model, and what was left out of the stored count to get it."""
    params = entry["params"]
    stored, text = params["total_stored"], params.get("text_params")
    if stored is None:
        return int(_PAPER_COUNTS[entry["hf_id"]]), "published rounded, in the model's paper"
    for row in _facts()["elsewhere"]:
        if _matches(entry, row):
            return (text or stored) - sum(row["parameters"]), f"{stored:,} stored; {row['what']}"
    if text is not None:
        return text, f"text model only; {stored:,} stored"
    if towers := sum(params.get(key) or 0 for key in _TOWERS):
        return stored - towers, f"{stored:,} stored, {towers:,} of them vision and audio"
    if "duplicate_lm_head" in params["check"]:
        return params["computed_unique"], f"{stored:,} stored: the tied output head is stored twice"
    if extra := params.get("explained_extra"):
        return stored - extra["params"], f"{stored:,} stored, {extra['params']:,} of them: {extra['what']}"
    return stored, ""


_BUFFERS = ("exp_probs_b.bias", "layer_output_scale.weight")
_TOWERS = ("vision_params", "audio_params", "vision_embed_params", "audio_embed_params", "projector_params")
# arXiv 2402.14905 and github facebookresearch/MobileLLM, in parameters.
_PAPER_COUNTS = {
    "facebook/MobileLLM-125M": 124.6e6,
    "facebook/MobileLLM-350M": 345.3e6,
    "facebook/MobileLLM-600M": 603.1e6,
    "facebook/MobileLLM-1B": 1.01e9,
    "facebook/MobileLLM-1.5B": 1.51e9,
}
_REQUIRED = (
    "name", "n_layer", "n_embd", "n_ff", "n_head", "n_head_kv", "head_dim", "n_vocab", "context_length", "tied",
)  # fmt: skip


def _dimensions(entry: dict[str, Any]) -> dict[str, Any]:
    """The fields that every architecture has."""
    arch = entry["arch"]
    return {
        "name": entry["gguf_arch"],
        "n_layer": arch["num_layers"],
        "n_embd": arch["hidden_size"],
        "n_ff": arch["intermediate_size"],
        "n_head": arch["num_attention_heads"],
        "n_head_kv": arch["num_key_value_heads"],
        "head_dim": arch["head_dim"],
        "n_vocab": arch["vocab_size"],
        "context_length": entry["context_length"]["value"],
        "tied": arch["tie_word_embeddings"],
    }


def _groups(entry: dict[str, Any]) -> dict[str, Any]:
    """The fields that only some architectures have."""
    fields: dict[str, Any] = {}
    attention = entry["attention"]
    if entry["moe"]:
        fields |= _moe(entry)
    if entry["mla"]:
        mla = entry["mla"]
        fields["mla"] = {
            "kv_rank": mla["kv_lora_rank"],
            "rope_dim": mla["qk_rope_head_dim"],
            "nope_dim": mla["qk_nope_head_dim"],
            "value_dim": mla["v_head_dim"],
            "q_rank": mla["q_lora_rank"],
        }
    if entry["ssm_or_conv"]:
        fields |= _states(entry)
    if attention.get("sliding_window") and attention["type"] == "sliding_window_mix":
        fields["window"] = {"size": attention["sliding_window"]}
    if "global_head_dim" in attention:
        # Gemma 4: the model's own numbers are those of blocks over the whole context.
        fields["head_dim"] = attention["global_head_dim"]
        fields["window"] |= {"head_dim": attention["sliding_head_dim"]}
        if heads := attention.get("num_global_key_value_heads"):
            fields["n_head_kv"] = heads
            fields["window"] |= {"n_head_kv": entry["arch"]["num_key_value_heads"]}
        fields["optional"] = ["rope_freqs"] + ([] if attention.get("attention_k_eq_v") else ["full_values"])
    if shared := attention.get("num_kv_shared_layers"):
        fields["n_layer_shared_kv"] = shared
        fields["n_embd_per_layer"] = 256
    if any("use_double_wide_mlp" in fact for fact in entry["tensor_facts"]):
        fields["n_ff_shared_kv"] = 2 * entry["arch"]["intermediate_size"]
    return fields


def _moe(entry: dict[str, Any]) -> dict[str, Any]:
    moe = entry["moe"]
    shared = moe.get("shared_experts") or 0
    experts = {
        "n_expert": moe["num_experts"],
        "n_expert_used": moe["experts_per_token"],
        "n_ff": moe["moe_intermediate_size"],
        "n_shared": shared if isinstance(shared, int) else 0,
        "n_ff_shared": moe.get("shared_expert_intermediate_size"),
        "n_dense_lead": moe.get("dense_first_layers") or 0,
    }
    return {"moe": {key: value for key, value in experts.items() if value is not None}}


def _states(entry: dict[str, Any]) -> dict[str, Any]:
    """Blocks that keep a state, and the pattern in which they come."""
    state, attention = entry["ssm_or_conv"], entry["attention"]
    if state["type"] == "gated_deltanet":
        ssm = {
            "inner": state["linear_num_value_heads"] * state["value_head_dim"],
            "state": state["key_head_dim"],
            "n_head": state["linear_num_value_heads"],
            "n_group": state["linear_num_key_heads"],
            "conv": state["conv_kernel"],
        }
        return {"ssm": ssm, "pattern": "ddda"}
    if state["type"] == "gated_short_conv":
        return {"conv_kernel": state["L_cache"], "pattern": _spread("c", entry)}
    ssm = {
        "inner": state["n_heads"] * state["head_dim"],
        "state": state["d_state"],
        "n_head": state["n_heads"],
        "n_group": state["n_groups"],
        "conv": state["d_conv"],
    }
    if attention["type"] == "parallel_hybrid":
        return {"ssm": ssm, "pattern": "p", "optional": ["ssm_norm"] if state["mamba_rms_norm"] else []}
    written = attention.get("hybrid_override_pattern")
    return {"ssm": ssm, "pattern": _nemotron(written) if written else _spread("m", entry)}


def _nemotron(pattern: str) -> str:
    """NVIDIA's letters: M mamba2, * attention, - feed-forward network, E experts."""
    return pattern.translate(str.maketrans("M*-E", "maff"))


def _spread(letter: str, entry: dict[str, Any]) -> str:
    """The pattern of a hybrid, from the positions of its attention blocks, or evenly spread if they are unknown.

    The positions change neither sizes nor memory, as long as the first block has no attention.
    """
    attention, n_layer = entry["attention"], entry["arch"]["num_layers"]
    blocks = [letter] * n_layer
    positions = attention.get("attention_layer_indices")
    count = attention["n_full_layers"]
    step = n_layer / count
    for position in positions or [int((i + 1) * step) - 1 for i in range(count)]:
        blocks[position] = "a"
    fed = attention.get("n_ffn_layers") or 0
    mixers = [i for i, block in enumerate(blocks) if block == letter]
    for i in range(fed):
        blocks[mixers[int((i + 1) * len(mixers) / fed) - 1]] = "f"
    return "".join(blocks)


def _matches(entry: dict[str, Any], row: dict[str, Any]) -> bool:
    return any(fnmatch.fnmatchcase(entry["hf_id"], pattern) for pattern in row["models"])


@cache
def _facts() -> dict[str, Any]:
    return tomllib.loads(_FACTS.read_text())
