"""What each architecture is put together from: one `Plan` a name in GGUF, and the options that models name.

Adding an architecture is adding a plan here (and, where the engine wants more than the common keys, a line in
`metadata.py`); a test loads every plan in the engine.
"""

from __future__ import annotations

from typing import NamedTuple

from quantize.architectures import blocks as b
from quantize.architectures.blocks import Block
from quantize.errors import UnknownArchitectureError


class Plan(NamedTuple):
    """The tensors of an architecture.

    `blocks` gives for each letter of the pattern the norms and the mixer; the feed-forward network comes on
    top: `dense`, or `experts` in blocks that have them. `model` is outside the blocks; an untied head comes
    on top. `options` are names in `OPTIONS` that models may choose. `experts_ff_key`: the width of an
    expert has a metadata key of its own; otherwise the engine takes feed_forward_length.
    """

    blocks: dict[str, Block]
    dense: Block = b.GATED_FFN
    experts: Block | None = None
    model: Block = b.TOKENS | b.OUTPUT_NORM
    head: Block = b.HEAD
    options: tuple[str, ...] = ()
    window_pattern: str | None = None  # where the engine applies a sliding window: its pattern by default
    nextn: Block | None = None
    experts_ff_key: bool = True
    beside_experts: bool = False  # experts stand beside the plain network, not in its place
    one_thing_a_block: bool = False  # a block is a mixer or a feed-forward network, never both


class Option(NamedTuple):
    """Tensors that some models of an architecture have.

    `where`: outside the blocks ("model"), in the feed-forward network ("dense", "experts") or in blocks
    that have such a mixer ("attention", "mamba2"; "full attention": without a window).
    """

    where: str
    tensors: Block


OPTIONS: dict[str, Option] = {
    "rope_freqs": Option("model", {"rope_freqs.weight": "rot_half"}),
    "rope_factors": Option(
        "model",
        {"rope_factors_long.weight": "rot_half", "rope_factors_short.weight": "rot_half"},
    ),
    "qkv_bias": Option("attention", b.QKV_BIAS),
    "attn_output_bias": Option("attention", b.ATTN_OUTPUT_BIAS),
    "mlp_bias": Option("dense", b.GATED_FFN_BIAS),
    "ssm_norm": Option("mamba2", b.MAMBA2_NORM),
    "balance_bias": Option("experts", b.BALANCE_BIAS),
    "full_values": Option("full attention", {"attn_v.weight": "embd v"}),
}

_LLAMA_OPTIONS = ("rope_freqs", "rope_factors", "qkv_bias", "attn_output_bias", "mlp_bias")


def _attention(block: Block) -> dict[str, Block]:
    """Blocks of plain attention, with and without a sliding window."""
    return {"a": block, "s": block}


_LLAMA = Plan(
    _attention(b.PRE_NORMS | b.ATTENTION), experts=b.MIXTURE, experts_ff_key=False, options=_LLAMA_OPTIONS
)
_QWEN3 = Plan(_attention(b.PRE_NORMS | b.ATTENTION | b.HEAD_NORMS))
_LAYER_NORM_MODEL = b.TOKENS | b.OUTPUT_NORM | b.OUTPUT_NORM_BIAS

_QWEN35_BLOCKS = {
    "a": b.ATTN_NORM | b.ATTN_POST_NORM | b.GATED_ATTENTION | b.HEAD_NORMS,
    "d": b.ATTN_NORM | b.ATTN_POST_NORM | b.DELTANET,
}
_LFM2_BLOCKS = {
    "a": b.PRE_NORMS | b.ATTENTION | b.HEAD_NORMS,
    "c": b.PRE_NORMS | b.SHORTCONV,
}

PLANS: dict[str, Plan] = {
    "llama": _LLAMA,
    "granite": _LLAMA,
    "mistral3": _LLAMA,
    "minicpm": _LLAMA,
    "exaone": _LLAMA,
    "ernie4_5": _LLAMA,
    "smollm3": _LLAMA,
    "gemma": _LLAMA,
    "internlm2": _LLAMA,
    "nanbeige": _LLAMA,
    "arcee": Plan(_attention(b.PRE_NORMS | b.ATTENTION), b.PLAIN_FFN, options=("rope_freqs",)),
    "apertus": Plan(
        _attention(b.PRE_NORMS | b.ATTENTION | b.HEAD_NORMS), b.PLAIN_FFN, options=("rope_freqs",)
    ),
    "qwen2": Plan(_attention(b.PRE_NORMS | b.ATTENTION | b.QKV_BIAS)),
    "qwen3": _QWEN3,
    "qwen3vl": _QWEN3,
    "hunyuan-dense": _QWEN3,
    "phi2": Plan(
        _attention(b.ATTN_NORM | b.ATTN_NORM_BIAS | b.ATTENTION | b.QKV_BIAS | b.ATTN_OUTPUT_BIAS),
        b.PLAIN_FFN | b.PLAIN_FFN_BIAS,
        model=_LAYER_NORM_MODEL,
        head=b.HEAD | b.HEAD_BIAS,
    ),
    "phi3": Plan(
        _attention(b.PRE_NORMS | b.FUSED_QKV | b.ATTN_OUTPUT), b.FUSED_FFN, options=("rope_factors",)
    ),
    "gemma2": Plan(_attention(b.PRE_NORMS | b.POST_NORMS | b.ATTENTION), window_pattern="sa"),
    "gemma3": Plan(
        _attention(b.PRE_NORMS | b.POST_NORMS | b.ATTENTION | b.HEAD_NORMS), window_pattern="sssssa"
    ),
    "glm4": Plan(_attention(b.PRE_NORMS | b.POST_NORMS | b.ATTENTION), b.FUSED_FFN, options=("qkv_bias",)),
    "olmo2": Plan(_attention(b.POST_NORMS | b.ATTENTION | b.WIDE_NORMS), window_pattern="sssa"),
    "exaone4": Plan(
        _attention(b.POST_NORMS | b.ATTENTION | b.HEAD_NORMS), options=("rope_freqs",), window_pattern="sssa"
    ),
    "command-r": Plan(_attention(b.ATTN_NORM | b.ATTENTION)),
    "cohere2": Plan(_attention(b.ATTN_NORM | b.ATTENTION), window_pattern="sssa"),
    "gptneox": Plan(
        _attention(b.LAYER_NORMS | b.FUSED_QKV | b.FUSED_QKV_BIAS | b.ATTN_OUTPUT | b.ATTN_OUTPUT_BIAS),
        b.PLAIN_FFN | b.PLAIN_FFN_BIAS,
        model=_LAYER_NORM_MODEL,
    ),
    "starcoder2": Plan(
        _attention(b.LAYER_NORMS | b.ATTENTION | b.QKV_BIAS | b.ATTN_OUTPUT_BIAS),
        b.PLAIN_FFN | b.PLAIN_FFN_BIAS,
        model=_LAYER_NORM_MODEL,
    ),
    "stablelm": Plan(_attention(b.LAYER_NORMS | b.ATTENTION), model=_LAYER_NORM_MODEL, options=("qkv_bias",)),
    "plamo3": Plan(
        _attention(
            b.PRE_NORMS | b.PLAMO_POST_NORMS | b.FUSED_QKV | b.ATTN_OUTPUT | b.HEAD_NORMS,
        ),
        b.FUSED_FFN,
        window_pattern="sssssssa",
    ),
    "granite_swa": Plan(
        _attention(b.PRE_NORMS | b.ATTENTION | b.SINKS), options=_LLAMA_OPTIONS, window_pattern="asss"
    ),
    "spark2_5": Plan(_attention(b.PRE_NORMS | b.ATTENTION | b.HEAD_GATE), window_pattern="sssa"),
    "muse-glimmer": Plan(
        _attention(b.PRE_NORMS | b.POST_NORMS | b.ATTENTION | b.HEAD_NORMS | b.OUTPUT_GATE),
        window_pattern="sssa",
    ),
    # --- mixtures of experts
    "granitemoe": Plan(
        _attention(b.PRE_NORMS | b.ATTENTION),
        experts=b.MIXTURE_SHARED,
        options=_LLAMA_OPTIONS,
        experts_ff_key=False,
    ),
    "olmoe": Plan(
        _attention(b.PRE_NORMS | b.ATTENTION | b.WIDE_NORMS), experts=b.MIXTURE, experts_ff_key=False
    ),
    "phimoe": Plan(
        _attention(b.LAYER_NORMS | b.ATTENTION | b.QKV_BIAS | b.ATTN_OUTPUT_BIAS),
        experts=b.MIXTURE,
        model=_LAYER_NORM_MODEL,
        head=b.HEAD | b.HEAD_BIAS,
        options=("rope_factors",),
        experts_ff_key=False,
    ),
    "qwen2moe": Plan(
        _attention(b.PRE_NORMS | b.ATTENTION | b.QKV_BIAS),
        experts=b.MIXTURE_SHARED | b.SHARED_EXPERT_GATE,
    ),
    "qwen3moe": Plan(_attention(b.PRE_NORMS | b.ATTENTION | b.HEAD_NORMS), experts=b.MIXTURE),
    "mellum": Plan(
        _attention(b.PRE_NORMS | b.ATTENTION | b.HEAD_NORMS), experts=b.MIXTURE, window_pattern="sssa"
    ),
    "ernie4_5-moe": Plan(
        _attention(b.PRE_NORMS | b.ATTENTION), experts=b.MIXTURE_SHARED, options=("balance_bias",)
    ),
    "gpt-oss": Plan(
        _attention(b.ATTN_NORM | b.ATTN_POST_NORM | b.ATTENTION | b.QKV_BIAS | b.ATTN_OUTPUT_BIAS | b.SINKS),
        experts=b.MIXTURE | b.EXPERTS_BIAS,
        window_pattern="sa",
    ),
    "afmoe": Plan(
        _attention(b.PRE_NORMS | b.POST_NORMS | b.ATTENTION | b.HEAD_NORMS | b.OUTPUT_GATE),
        experts=b.MIXTURE_SHARED,
        options=("balance_bias",),
        window_pattern="sssa",
    ),
    "cohere2moe": Plan(
        _attention(b.ATTN_NORM | b.ATTENTION), experts=b.MIXTURE_SHARED, window_pattern="asss"
    ),
    "bailingmoe2": Plan(
        _attention(b.PRE_NORMS | b.FUSED_QKV | b.ATTN_OUTPUT | b.HEAD_NORMS),
        experts=b.MIXTURE_SHARED,
        options=("balance_bias",),
    ),
    "laguna": Plan(
        _attention(b.PRE_NORMS | b.ATTENTION | b.HEAD_NORMS | b.HEAD_GATE),
        experts=b.MIXTURE_SHARED,
        options=("balance_bias",),
        window_pattern="asss",
    ),
    # --- latent attention
    "deepseek2": Plan(
        {"a": b.PRE_NORMS | b.LATENT_Q | b.DIRECT_Q | b.LATENT_ATTENTION},
        experts=b.MIXTURE_SHARED,
        options=("balance_bias",),
        nextn=b.NEXTN,
    ),
    "bailingmoe3": Plan(
        {
            "a": b.PRE_NORMS | b.LATENT_Q | b.DIRECT_Q | b.LATENT_ATTENTION | b.HEAD_GATE,
            "k": b.PRE_NORMS | b.KDA,
        },
        experts=b.MIXTURE_SHARED,
        options=("balance_bias",),
    ),
    "minicpm3": Plan({"a": b.PRE_NORMS | b.LATENT_Q | b.LATENT_ATTENTION_FUSED}, options=("rope_factors",)),
    # --- per-layer embeddings
    "gemma3n": Plan(
        _attention(
            b.PRE_NORMS | b.POST_NORMS | b.ATTENTION | b.HEAD_NORMS | b.PER_LAYER_INPUT | b.ALTUP_LAUREL
        ),
        model=b.TOKENS | b.OUTPUT_NORM | b.PER_LAYER_EMBEDDING | b.ALTUP,
        window_pattern="ssssa",
    ),
    "gemma4": Plan(
        {
            "s": b.PRE_NORMS | b.POST_NORMS | b.ATTENTION | b.HEAD_NORMS | b.PER_LAYER_INPUT | b.LAYER_SCALE,
            # May use its keys as values; option "full_values" says that it does not.
            "a": b.PRE_NORMS
            | b.POST_NORMS
            | b.QK
            | b.ATTN_OUTPUT
            | b.HEAD_NORMS
            | b.PER_LAYER_INPUT
            | b.LAYER_SCALE,
        },
        experts=b.GEMMA4_EXPERTS,
        model=b.TOKENS | b.OUTPUT_NORM | b.PER_LAYER_EMBEDDING,
        options=("rope_freqs", "full_values"),
        beside_experts=True,
        window_pattern="sssssa",
    ),
    # --- blocks that keep a state
    "granitehybrid": Plan(
        {
            "a": b.PRE_NORMS | b.ATTENTION,
            "m": b.PRE_NORMS | b.MAMBA2 | b.MAMBA2_NORM,
        },
        experts=b.MIXTURE_SHARED,
        experts_ff_key=False,
    ),
    "nemotron_h": Plan(
        {
            "a": b.ATTN_NORM | b.ATTENTION,
            "m": b.ATTN_NORM | b.MAMBA2 | b.MAMBA2_NORM,
            "f": b.ATTN_NORM,
        },
        b.PLAIN_FFN,
        one_thing_a_block=True,
    ),
    "nemotron_h_moe": Plan(
        {
            "a": b.ATTN_NORM | b.ATTENTION,
            "m": b.ATTN_NORM | b.MAMBA2 | b.MAMBA2_NORM,
            "f": b.ATTN_NORM,
        },
        experts=b.ROUTER | b.BALANCE_BIAS | b.UNGATED_EXPERTS | b.UNGATED_SHARED_EXPERT,
        one_thing_a_block=True,
    ),
    "falcon-h1": Plan(
        {"p": b.ATTN_NORM | b.FFN_NORM_FALCON_H1 | b.ATTENTION | b.MAMBA2}, options=("ssm_norm", "rope_freqs")
    ),
    "qwen35": Plan(_QWEN35_BLOCKS, nextn=b.NEXTN),
    "qwen35moe": Plan(_QWEN35_BLOCKS, experts=b.MIXTURE_SHARED | b.SHARED_EXPERT_GATE, nextn=b.NEXTN),
    "lfm2": Plan(_LFM2_BLOCKS, model=b.TOKENS | b.OUTPUT_NORM_LFM2),
    "lfm2moe": Plan(_LFM2_BLOCKS, experts=b.MIXTURE | b.BALANCE_BIAS, model=b.TOKENS | b.OUTPUT_NORM_LFM2),
    "plamo2": Plan(
        {
            "a": b.PRE_NORMS | b.PLAMO_POST_NORMS | b.FUSED_QKV | b.ATTN_OUTPUT | b.NORM_PER_HEAD,
            "m": b.PRE_NORMS | b.PLAMO_POST_NORMS | b.MAMBA_PLAMO,
        },
        b.FUSED_FFN,
    ),
}


def plan_of(name: str) -> Plan:
    """The plan of the architecture `name`; raises UnknownArchitectureError."""
    if name not in PLANS:
        raise UnknownArchitectureError(
            f"the tensors of architecture {name!r} are not known; known: {', '.join(sorted(PLANS))}"
        )
    return PLANS[name]
