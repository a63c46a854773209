"""Tensor types and presets."""

from __future__ import annotations

import pytest

from quantize.errors import InvalidModelError, UnknownPresetError
from quantize.types import PRESETS, TENSOR_TYPES, TENSOR_TYPES_BY_ID, parse_preset, row_bytes


def test_block_and_type_sizes_are_those_of_the_gguf_package() -> None:
    """The gguf package is llama.cpp's own; Q8_1 never leaves memory and is out of date there."""
    constants = pytest.importorskip("gguf.constants")
    for kind, (block_size, type_size) in constants.GGML_QUANT_SIZES.items():
        if kind.name != "Q8_1":
            ours = TENSOR_TYPES_BY_ID[kind.value]
            assert (ours.name, ours.block_size, ours.type_size) == (kind.name, block_size, type_size)


@pytest.mark.engine
def test_preset_numbers_are_the_engine_s() -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    for preset in PRESETS.values():
        name = "MXFP4_MOE" if preset.name == "MXFP4" else preset.name
        assert getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{name}") == preset.ftype


@pytest.mark.parametrize(("name", "bits"), [("Q4_0", 4.5), ("Q4_K", 4.5), ("Q6_K", 6.5625), ("Q8_0", 8.5)])
def test_bits_per_weight_are_derived_from_the_blocks(name: str, bits: float) -> None:
    assert TENSOR_TYPES[name].bits_per_weight == bits


def test_a_row_takes_whole_blocks() -> None:
    assert row_bytes("Q4_K", 4096) == 4096 // 256 * 144
    assert row_bytes("F16", 1) == 2
    with pytest.raises(InvalidModelError, match="576 weights cannot be Q4_K: its blocks hold 256"):
        row_bytes("Q4_K", 576)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Q4_K_M", "Q4_K_M"),
        ("q4_k_m", "Q4_K_M"),
        ("q4-k-m", "Q4_K_M"),
        ("Q4KM", "Q4_K_M"),
        (" iq4_xs ", "IQ4_XS"),
        ("MXFP4_MOE", "MXFP4"),
        ("q8", "Q8_0"),
        ("fp16", "F16"),
        ("Q5_K", "Q5_K_M"),
    ],
)
def test_usual_spellings_of_a_preset_are_understood(text: str, name: str) -> None:
    assert parse_preset(text) == name


def test_an_unknown_preset_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownPresetError, match="unknown quantization 'Q4_K_X'; nearest: ") as caught:
        parse_preset("Q4_K_X")
    assert "Q4_K_M" in caught.value.nearest


def test_only_presets_below_three_bits_need_an_importance_matrix() -> None:
    """The engine refuses these without one; Q2_K, for one, it makes."""
    needing = {name for name, preset in PRESETS.items() if preset.needs_imatrix}
    assert needing == {"IQ3_XXS", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"}
