"""An architecture from a model's config.json, as the Hub has it.

What the engine makes of a config.json is decided by its converter (conversion/*.py of llama.cpp); names and
defaults of the keys are those of the configuration classes in transformers 5.23.0. A `Kind` says what is
particular to a model_type; most of a configuration is read the same way for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from quantize.architectures.config_reader import Config, ConfigReader
from quantize.architectures.dimensions import (
    Architecture,
    Experts,
    LatentAttention,
    SlidingWindow,
    StateSpace,
    shortest_pattern,
)
from quantize.architectures.plans import plan_of
from quantize.errors import InvalidModelError, UnknownArchitectureError

Fields = dict[str, Any]


def from_hf_config(config: Config) -> Architecture:
    """The architecture that the converter makes of a config.json. Blocks for multi-token prediction are left out.

    Raises UnknownArchitectureError for a model_type that is not known here, and InvalidModelError, naming the
    key, for what is missing or nonsense.
    """
    if not isinstance(config, Mapping):
        raise InvalidModelError("config.json does not hold an object")
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise InvalidModelError("config.json does not name a model_type")
    text = config.get("text_config")
    keys = ConfigReader({**config, **text} if isinstance(text, Mapping) else config)
    kind = KINDS.get(model_type)
    if kind is None:
        known = ", ".join(sorted(KINDS))
        raise UnknownArchitectureError(
            f"the model_type {model_type!r} of config.json is not known; known: {known}"
        )
    fields = _common(keys, kind)
    for read in (_experts, _latent_attention, kind.read):
        if read is not None:
            fields |= read(keys, fields)
    return Architecture(**fields)


class Kind(NamedTuple):
    """What is particular to a model_type.

    `tied`, `window`, `rotary`: what holds where config.json does not say. `biased`: the options that
    `bias_key` stands for. `read`: reads what others do not have.
    """

    name: str
    tied: bool = False
    window: int | None = None
    rotary: float = 1.0
    bias_key: str = "attention_bias"
    biased: tuple[str, ...] = ()
    always: tuple[str, ...] = ()
    read: Callable[[ConfigReader, Fields], Fields] | None = None


def _common(keys: ConfigReader, kind: Kind) -> Fields:
    """The fields that every architecture has, the window, and the options."""
    plan = plan_of(kind.name)
    n_embd, n_head = keys.number("hidden_size"), keys.number("num_attention_heads")
    n_head_kv = keys.number("num_key_value_heads", n_head)
    head_dim = keys.number("head_dim", n_embd // n_head)
    if n_embd % n_head and keys.plain("head_dim") is None:
        raise InvalidModelError(
            f"config.json: hidden_size {n_embd} is no multiple of {n_head} attention heads"
        )
    if n_head % (n_head_kv or n_head):
        raise InvalidModelError(
            f"config.json: num_key_value_heads {n_head_kv} does not divide {n_head} attention heads"
        )
    n_layer = keys.number("num_hidden_layers", most=1024)
    rotary = keys.fraction("partial_rotary_factor", keys.fraction("rotary_pct", kind.rotary))
    n_rot = int(head_dim * rotary)
    options = list(kind.always)
    if keys.flag(kind.bias_key, False):
        options += kind.biased
        if not kind.biased and not any(
            "attn_q.bias" in block or "attn_qkv.bias" in block for block in plan.blocks.values()
        ):
            raise UnknownArchitectureError(f"config.json: {kind.bias_key} is true, which {kind.name} has not")
    if keys.flag("mlp_bias", False) and "mlp_bias" in plan.options:
        options.append("mlp_bias")
    options += [name for name, of in _ROPE_TENSORS.items() if keys.rope_type() in of and name in plan.options]
    fields: Fields = {
        "name": kind.name,
        "n_layer": n_layer,
        "n_embd": n_embd,
        "n_ff": keys.first(("intermediate_size", "moe_intermediate_size")),
        "n_head": n_head,
        "n_head_kv": n_head_kv,
        "head_dim": head_dim,
        "n_vocab": keys.number("vocab_size"),
        "context_length": keys.number("max_position_embeddings"),
        "tied": keys.flag("tie_word_embeddings", kind.tied),
        "n_rot": None if n_rot == head_dim else n_rot,
        "optional": tuple(options),
    }
    window = keys.number("sliding_window", kind.window or 0)
    if plan.window_pattern and window:
        usual = "s" * (keys.number("sliding_window_pattern", len(plan.window_pattern)) - 1) + "a"
        usual = usual if plan.window_pattern[-1] == "a" else plan.window_pattern
        pattern = keys.layer_types(n_layer) or (usual * n_layer)[:n_layer]
        fields["pattern"] = shortest_pattern(pattern)
        if "s" in pattern:
            fields["window"] = SlidingWindow(size=window)
    return fields


# Option -> the kinds of rotary scaling for which the converter writes these tensors.
_ROPE_TENSORS = {"rope_freqs": ("llama3",), "rope_factors": ("longrope", "su")}


def _experts(keys: ConfigReader, fields: Fields) -> Fields:
    n_expert = keys.first(("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"), 0)
    plan = plan_of(fields["name"])
    if not n_expert or plan.experts is None:
        return {}
    shared = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts")
    width = (
        "shared_expert_intermediate_size",
        "moe_shared_expert_intermediate_size",
        "shared_intermediate_size",
    )
    lead = ("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index")
    n_ff = keys.first(("moe_intermediate_size",), 0)
    return {
        "moe": Experts(
            n_expert=n_expert,
            n_expert_used=keys.first(("num_experts_per_tok", "top_k_experts", "moe_k")),
            n_ff=n_ff if n_ff and plan.experts_ff_key else None,
            n_shared=keys.first(shared, 0),
            n_ff_shared=keys.first(width, 0) or None,
            n_dense_lead=keys.first(lead, 0),
        )
    }


def _latent_attention(keys: ConfigReader, fields: Fields) -> Fields:
    if not keys.number("kv_lora_rank", 0):
        return {}
    nope, rope = keys.number("qk_nope_head_dim"), keys.number("qk_rope_head_dim")
    return {
        "mla": LatentAttention(
            kv_rank=keys.number("kv_lora_rank"),
            rope_dim=rope,
            nope_dim=nope,
            value_dim=keys.number("v_head_dim", fields["n_embd"] // fields["n_head"]),
            q_rank=keys.number("q_lora_rank", 0) or None,
        ),
        "head_dim": nope + rope,
        "n_rot": None,
    }


def _exaone4(keys: ConfigReader, fields: Fields) -> Fields:
    """The engine gives a window only to the model of 64 blocks (src/models/exaone4.cpp)."""
    return {} if fields["n_layer"] == 64 else {"pattern": "a", "window": None}


def _gpt_neox(keys: ConfigReader, fields: Fields) -> Fields:
    return {"tied": keys.flag("tie_word_embeddings", False), "n_head_kv": fields["n_head"]}


def _minicpm3(keys: ConfigReader, fields: Fields) -> Fields:
    mla: LatentAttention = fields["mla"]
    return {"head_dim_v": mla.value_dim, "n_rot": mla.rope_dim}


def _gemma3n(keys: ConfigReader, fields: Fields) -> Fields:
    widths = keys.plain("intermediate_size")
    return {
        "n_ff": widths[0] if isinstance(widths, list) and widths else fields["n_ff"],
        "n_embd_per_layer": keys.number("hidden_size_per_layer_input", 256),
        "n_layer_shared_kv": keys.number("num_kv_shared_layers", 15),
    }


def _gemma4(keys: ConfigReader, fields: Fields) -> Fields:
    """Blocks with a window have their own head size, and KV heads; the others may use keys as values."""
    window, whole = fields["head_dim"], keys.number("global_head_dim", 512)
    whole_kv = keys.number("num_global_key_value_heads", 0)
    shared = keys.number("num_kv_shared_layers", 0)
    doubled = shared and keys.flag("use_double_wide_mlp", False)
    equal = keys.flag("attention_k_eq_v", False)
    return {
        "head_dim": whole,
        "n_rot": None,
        "n_head_kv": whole_kv or fields["n_head_kv"],
        "window": SlidingWindow(
            size=keys.number("sliding_window", 512),
            head_dim=window,
            n_head_kv=fields["n_head_kv"] if whole_kv else None,
        ),
        "optional": ("rope_freqs",) if equal else ("rope_freqs", "full_values"),
        "n_embd_per_layer": keys.number("hidden_size_per_layer_input", 256) or None,
        "n_layer_shared_kv": shared,
        "n_ff_shared_kv": 2 * fields["n_ff"] if doubled else None,
    }


def _qwen35(keys: ConfigReader, fields: Fields) -> Fields:
    heads = keys.number("linear_num_value_heads")
    every = keys.number("full_attention_interval", 4)
    pattern = keys.layer_types(fields["n_layer"]) or "d" * (every - 1) + "a"
    return {
        "ssm": StateSpace(
            inner=heads * keys.number("linear_value_head_dim"),
            state=keys.number("linear_key_head_dim"),
            n_head=heads,
            n_group=keys.number("linear_num_key_heads"),
            conv=keys.number("linear_conv_kernel_dim", 4),
        ),
        "pattern": shortest_pattern(pattern),
        "n_rot": int(fields["head_dim"] * keys.fraction("partial_rotary_factor", 0.25)),
    }


def _lfm2(keys: ConfigReader, fields: Fields) -> Fields:
    """The feed-forward width may be cut to two thirds and rounded up (conversion/lfm2.py)."""
    n_ff = keys.number("block_ff_dim", fields["n_ff"])
    if keys.flag("block_auto_adjust_ff_dim", fields["name"] == "lfm2"):
        n_ff = int(keys.fraction("block_ffn_dim_multiplier", 1.0, most=64) * int(2 * n_ff / 3))
        multiple = keys.number("block_multiple_of", 256)
        n_ff = -(-n_ff // multiple) * multiple
    pattern = keys.layer_types(fields["n_layer"])
    if pattern is None:
        whole = keys.plain("full_attn_idxs") or []
        pattern = "".join("a" if i in whole else "c" for i in range(fields["n_layer"]))
    return {
        "n_ff": n_ff,
        "conv_kernel": keys.number("conv_L_cache", 3),
        "pattern": shortest_pattern(pattern),
        "tied": keys.flag("tie_word_embeddings", keys.flag("tie_embedding", True)),
    }


def _granite_hybrid(keys: ConfigReader, fields: Fields) -> Fields:
    """Without mamba blocks it is a granite; without experts the shared expert is the feed-forward network."""
    pattern = keys.layer_types(fields["n_layer"])
    if pattern is None:
        raise InvalidModelError("config.json: layer_types is missing")
    pattern = pattern.replace("d", "m")  # transformers 5 calls its mamba blocks linear_attention
    changed: Fields = {}
    if "moe" not in fields:
        changed["n_ff"] = keys.number("shared_intermediate_size", fields["n_ff"])
    if "m" not in pattern:
        return changed | {"name": "granitemoe" if "moe" in fields else "granite"}
    heads = keys.number("mamba_n_heads")
    return changed | {
        "pattern": shortest_pattern(pattern),
        "ssm": StateSpace(
            inner=heads * keys.number("mamba_d_head"),
            state=keys.number("mamba_d_state"),
            n_head=heads,
            n_group=keys.number("mamba_n_groups", 1),
            conv=keys.number("mamba_d_conv", 4),
        ),
    }


def _falcon_h1(keys: ConfigReader, fields: Fields) -> Fields:
    return {
        "pattern": "p",
        "optional": ("ssm_norm",) if keys.flag("mamba_rms_norm", False) else (),
        "ssm": StateSpace(
            inner=keys.number("mamba_d_ssm"),
            state=keys.number("mamba_d_state"),
            n_head=keys.number("mamba_n_heads"),
            n_group=keys.number("mamba_n_groups", 1),
            conv=keys.number("mamba_d_conv", 4),
        ),
    }


def _nemotron_h(keys: ConfigReader, fields: Fields) -> Fields:
    """One letter a block: M mamba2, * attention, - feed-forward network, E experts."""
    if keys.plain("moe_latent_size"):
        raise UnknownArchitectureError(
            "config.json: experts in a latent space (moe_latent_size) are not known"
        )
    written = keys.plain("hybrid_override_pattern")
    if isinstance(written, str) and not set(written) - set("M*-E"):
        pattern = written.translate(str.maketrans("M*-E", "maff"))
    else:
        pattern = keys.layer_types(fields["n_layer"]) or ""
    if len(pattern) != fields["n_layer"]:
        raise InvalidModelError(f"config.json: hybrid_override_pattern is {written!r}")
    heads = keys.number("mamba_num_heads")
    name = "nemotron_h_moe" if keys.plain("n_routed_experts") else "nemotron_h"
    return _experts(keys, fields | {"name": name}) | {
        "name": name,
        "pattern": shortest_pattern(pattern),
        "ssm": StateSpace(
            inner=heads * keys.number("mamba_head_dim"),
            state=keys.number("ssm_state_size"),
            n_head=heads,
            n_group=keys.number("n_groups"),
            conv=keys.number("conv_kernel", 4),
        ),
    }


_LLAMA_BIASES = ("qkv_bias", "attn_output_bias")

KINDS: dict[str, Kind] = {
    "llama": Kind("llama", biased=_LLAMA_BIASES),
    "mistral": Kind("llama"),
    "mixtral": Kind("llama"),
    "internlm3": Kind("llama"),
    "mistral3": Kind("mistral3"),
    "ministral3": Kind("mistral3"),
    "smollm3": Kind("smollm3", tied=True),
    "granite": Kind("granite", biased=_LLAMA_BIASES),
    "granitemoe": Kind("granitemoe"),
    "granitemoehybrid": Kind("granitehybrid", tied=True, read=_granite_hybrid),
    "granite_swa": Kind("granite_swa", tied=True, window=128),
    "gemma": Kind("gemma", tied=True),
    "gemma2": Kind("gemma2", tied=True, window=4096),
    "gemma3": Kind("gemma3", tied=True, window=4096),
    "gemma3_text": Kind("gemma3", tied=True, window=4096),
    "gemma3n": Kind("gemma3n", tied=True, window=512, read=_gemma3n),
    "gemma3n_text": Kind("gemma3n", tied=True, window=512, read=_gemma3n),
    "gemma4": Kind("gemma4", tied=True, window=512, read=_gemma4),
    "gemma4_text": Kind("gemma4", tied=True, window=512, read=_gemma4),
    "gemma4_unified": Kind("gemma4", tied=True, window=512, read=_gemma4),
    "qwen2": Kind("qwen2"),
    "qwen2_moe": Kind("qwen2moe"),
    "qwen3": Kind("qwen3"),
    "qwen3_vl": Kind("qwen3vl"),
    "qwen3_moe": Kind("qwen3moe"),
    "qwen3_5": Kind("qwen35", read=_qwen35),
    "qwen3_5_text": Kind("qwen35", read=_qwen35),
    "qwen3_5_moe": Kind("qwen35moe", read=_qwen35),
    "qwen3_5_moe_text": Kind("qwen35moe", read=_qwen35),
    "mimo": Kind("qwen2"),
    "phi": Kind("phi2", rotary=0.5),
    "phi3": Kind("phi3"),
    "phimoe": Kind("phimoe"),
    "gpt_neox": Kind("gptneox", rotary=0.25, read=_gpt_neox),
    "gpt_oss": Kind("gpt-oss", window=128),
    "olmo2": Kind("olmo2"),
    "olmo3": Kind("olmo2", window=4096),
    "olmoe": Kind("olmoe"),
    "cohere": Kind("command-r", tied=True),
    "cohere2": Kind("cohere2", tied=True, window=4096),
    "cohere2_moe": Kind("cohere2moe", tied=True, window=4096),
    "exaone": Kind("exaone"),
    "exaone4": Kind("exaone4", read=_exaone4),
    "stablelm": Kind("stablelm", rotary=0.25, bias_key="use_qkv_bias", biased=("qkv_bias",)),
    "starcoder2": Kind("starcoder2", tied=True),
    "glm4": Kind("glm4", rotary=0.5, biased=("qkv_bias",)),
    "ernie4_5": Kind("ernie4_5", tied=True),
    "ernie4_5_moe": Kind("ernie4_5-moe", tied=True, always=("balance_bias",)),
    "hunyuan_v1_dense": Kind("hunyuan-dense"),
    "internlm2": Kind("internlm2"),
    "minicpm": Kind("minicpm", tied=True),
    "minicpm3": Kind("minicpm3", tied=True, read=_minicpm3),
    "deepseek_v2": Kind("deepseek2"),
    "deepseek_v3": Kind("deepseek2", always=("balance_bias",)),
    "glm4_moe_lite": Kind("deepseek2", always=("balance_bias",)),
    "youtu": Kind("deepseek2"),
    "arcee": Kind("arcee"),
    "apertus": Kind("apertus"),
    "afmoe": Kind("afmoe", window=1024, always=("balance_bias",)),
    "mellum": Kind("mellum", window=1024),
    "nanbeige": Kind("nanbeige"),
    "lfm2": Kind("lfm2", tied=True, read=_lfm2),
    "lfm2_moe": Kind("lfm2moe", tied=True, read=_lfm2),
    "falcon_h1": Kind("falcon-h1", read=_falcon_h1),
    "nemotron_h": Kind("nemotron_h", read=_nemotron_h),
}
