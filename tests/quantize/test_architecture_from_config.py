"""Architectures from config.json files of the Hub.

`data/configs` holds such files as they are, without their vision parts (from PyPI aiconfigurator-core 0.12.0,
which has verbatim copies).
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantize.architecture import active_parameter_count, from_hf_config, layers, parameter_count, tensors
from quantize.architectures.from_config import KINDS
from quantize.architectures.plans import PLANS
from quantize.errors import InvalidModelError, QuantizeError, UnknownArchitectureError

CONFIGS = Path(__file__).with_name("data") / "configs"


def config(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CONFIGS / f"{name}.json").read_text())
    return loaded


@pytest.mark.parametrize(
    ("name", "architecture", "parameters"),
    [
        ("meta-llama--Meta-Llama-3.1-8B", "llama", 8_030_261_248),
        ("mistralai--Mixtral-8x7B-v0.1", "llama", 46_702_792_704),
        ("Qwen--Qwen3-0.6B", "qwen3", 596_049_920),
        ("Qwen--Qwen3-VL-2B-Instruct", "qwen3vl", 1_720_574_976),
        ("Qwen--Qwen3.5-35B-A3B", "qwen35moe", 34_660_610_688),
        ("google--gemma-4-26B-A4B", "gemma4", 25_233_141_760),
        ("openai--gpt-oss-20b", "gpt-oss", 20_914_757_184),
        ("nvidia--NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "nemotron_h_moe", 31_577_937_344),
        ("deepseek-ai--DeepSeek-V3", "deepseek2", 671_026_404_352),
    ],
)
def test_the_parameters_of_a_config_are_those_that_are_published(
    name: str, architecture: str, parameters: int
) -> None:
    arch = from_hf_config(config(name))
    assert (arch.name, parameter_count(arch)) == (architecture, parameters)


def test_what_a_config_says_about_blocks_reaches_the_layers() -> None:
    gemma = layers(from_hf_config(config("google--gemma-4-26B-A4B")))
    assert [(layer.window, layer.head_dim_k, layer.n_head_kv) for layer in gemma[4:6]] == [
        (1024, 256, 8),
        (None, 512, 2),
    ]
    nemotron = layers(from_hf_config(config("nvidia--NVIDIA-Nemotron-3-Nano-30B-A3B-BF16")))
    assert [layer.kind for layer in nemotron[:6]] == ["mamba2", "ffn", "mamba2", "ffn", "mamba2", "attention"]


def test_scaled_rotary_frequencies_become_a_tensor() -> None:
    llama = config("meta-llama--Meta-Llama-3.1-8B")
    assert "rope_freqs.weight" in {tensor.name for tensor in tensors(from_hf_config(llama))}
    llama["rope_scaling"] = None
    assert "rope_freqs.weight" not in {tensor.name for tensor in tensors(from_hf_config(llama))}


def lfm2() -> dict[str, Any]:
    """LiquidAI/LFM2-350M: the feed-forward width is cut to two thirds and rounded up."""
    return {
        "model_type": "lfm2",
        "num_hidden_layers": 16,
        "hidden_size": 1024,
        "block_ff_dim": 6656,
        "intermediate_size": 6656,
        "block_auto_adjust_ff_dim": True,
        "block_ffn_dim_multiplier": 1.0,
        "block_multiple_of": 256,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "vocab_size": 65536,
        "max_position_embeddings": 128000,
        "conv_L_cache": 3,
        "full_attn_idxs": [2, 5, 8, 10, 12, 14],
        "tie_embedding": True,
    }


def granite() -> dict[str, Any]:
    """ibm-granite/granite-4.0-350m: a "hybrid" without mamba blocks is a granite."""
    return {
        "model_type": "granitemoehybrid",
        "num_hidden_layers": 28,
        "hidden_size": 1024,
        "intermediate_size": 2048,
        "shared_intermediate_size": 2048,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "vocab_size": 100352,
        "max_position_embeddings": 32768,
        "layer_types": ["attention"] * 28,
        "num_local_experts": 0,
        "tie_word_embeddings": True,
    }


def falcon() -> dict[str, Any]:
    """tiiuae/Falcon-H1-0.5B-Instruct."""
    return {
        "model_type": "falcon_h1",
        "num_hidden_layers": 36,
        "hidden_size": 1024,
        "intermediate_size": 2048,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "vocab_size": 32784,
        "max_position_embeddings": 16384,
        "mamba_d_ssm": 1536,
        "mamba_d_state": 128,
        "mamba_n_heads": 24,
        "mamba_n_groups": 1,
        "mamba_d_conv": 4,
        "mamba_rms_norm": False,
        "tie_word_embeddings": False,
    }


@pytest.mark.parametrize(
    ("loaded", "architecture", "parameters"),
    [
        (lfm2(), "lfm2", 354_483_968),
        (granite(), "granite", 352_379_904),
        (falcon(), "falcon-h1", 521_411_104),
    ],
    ids=["lfm2", "granite", "falcon-h1"],
)
def test_hybrids_are_read_as_the_converter_reads_them(
    loaded: dict[str, Any], architecture: str, parameters: int
) -> None:
    arch = from_hf_config(loaded)
    assert (arch.name, parameter_count(arch)) == (architecture, parameters)


def test_mamba_blocks_may_be_called_linear_attention_as_transformers_5_does() -> None:
    mamba = {"mamba_n_heads": 48, "mamba_d_head": 32, "mamba_d_state": 128}
    old = granite() | mamba | {"layer_types": ["mamba", "attention"] * 14}
    new = granite() | mamba | {"layer_types": ["linear_attention", "full_attention"] * 14}
    assert from_hf_config(new) == from_hf_config(old)
    assert from_hf_config(new).pattern == "ma"


def test_active_parameters_of_a_mixture_come_out() -> None:
    assert active_parameter_count(from_hf_config(config("openai--gpt-oss-20b"))) == 4_187_440_704


def test_an_unknown_model_type_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownArchitectureError, match=r"model_type 'bert' .* is not known; known: .*llama"):
        from_hf_config({"model_type": "bert"})
    with pytest.raises(InvalidModelError, match="does not name a model_type"):
        from_hf_config({})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hidden_size", None, "hidden_size is missing"),
        ("hidden_size", -5, "hidden_size is -5 and not a usable number"),
        ("vocab_size", "many", "vocab_size is 'many'"),
        ("num_attention_heads", 0, "num_attention_heads is 0"),
        ("num_hidden_layers", 10**9, "num_hidden_layers is 1000000000"),
        ("num_key_value_heads", True, "num_key_value_heads is True"),
        ("rope_scaling", {"partial_rotary_factor": 7}, "partial_rotary_factor is 7"),
    ],
)
def test_nonsense_is_refused_by_its_key(key: str, value: object, message: str) -> None:
    with pytest.raises(InvalidModelError, match=message):
        from_hf_config(config("meta-llama--Meta-Llama-3.1-8B") | {key: value})


def test_a_bias_that_the_architecture_has_not_is_refused() -> None:
    with pytest.raises(UnknownArchitectureError, match="attention_bias is true"):
        from_hf_config(config("Qwen--Qwen3-0.6B") | {"attention_bias": True})


def test_every_model_type_leads_to_an_architecture_that_is_known() -> None:
    assert {kind.name for kind in KINDS.values()} <= PLANS.keys()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)


@given(st.sampled_from(sorted(path.stem for path in CONFIGS.glob("*.json"))), st.data())
def test_a_damaged_config_is_refused_and_never_crashes(name: str, data: st.DataObject) -> None:
    loaded = config(name)
    target = data.draw(st.sampled_from([loaded, loaded.get("text_config", loaded)]))
    target[data.draw(st.sampled_from(sorted(target)))] = data.draw(JSON)
    with suppress(QuantizeError):
        parameter_count(from_hf_config(loaded))
