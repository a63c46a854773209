"""What quantization costs, against published measurements and against what must always hold."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.catalog import load_catalog
from advisor.errors import InvalidInputError
from advisor.quality import estimate_quality
from advisor.quantization_loss import kind_of, kv_ln_perplexity_ratio, quantization_loss, variant_loss
from quantize.types import TENSOR_TYPES

KINDS = {
    "k": ["Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K"],
    "iq": ["IQ4_NL", "IQ4_XS", "IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"],
    "legacy": ["Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"],
}
PARAMETERS = st.integers(10_000_000, 70_000_000_000)


def ln_ratio(name: str, quant: str) -> float:
    model = load_catalog().find(name)
    return variant_loss(model, model.variant(quant), "f16", "f16", 50.0).ln_perplexity_ratio.value


def filled(tensor_type: str, weights: int = 256_000_000) -> dict[str, int]:
    """The bytes of a model all of one type."""
    return {tensor_type: round(weights * TENSOR_TYPES[tensor_type].bits_per_weight / 8)}


@pytest.mark.parametrize(
    ("name", "quant", "published"),
    [
        # llama.cpp tools/perplexity/README.md, Llama 3 8B, wikitext-2
        ("Meta-Llama-3-8B-Instruct", "Q8_0", 1.0004),
        ("Meta-Llama-3-8B-Instruct", "Q6_K", 1.0035),
        ("Meta-Llama-3-8B-Instruct", "Q4_K_M", 1.0282),
        ("Meta-Llama-3-8B-Instruct", "Q3_K_M", 1.1054),
        ("Meta-Llama-3-8B-Instruct", "IQ2_XS", 1.7269),
        # ThomasBaruzier/Qwen2.5-0.5B-Instruct-GGUF: 5.5 bits a weight at "Q2_K"
        ("Qwen2.5-0.5B-Instruct", "Q2_K", 1.1648),
        ("Qwen2.5-0.5B-Instruct", "IQ1_S", 1.9790),
        # measured for this project
        ("gemma-3-270m-it", "Q3_K_M", 1.22),
    ],
)
def test_published_perplexities_lie_within_the_stated_interval_widened_to_95_per_cent(
    name: str, quant: str, published: float
) -> None:
    model = load_catalog().find(name)
    ratio = variant_loss(model, model.variant(quant), "f16", "f16", 50.0).ln_perplexity_ratio
    widened = (ratio.high / ratio.value) ** (1.96 / 1.2816)
    noise_of_the_measurement = 0.001
    assert ratio.value / widened - noise_of_the_measurement < math.log(published)
    assert math.log(published) < ratio.value * widened + noise_of_the_measurement


def test_a_label_is_charged_for_what_the_file_holds() -> None:
    """Gemma 3 270M at Q2_K is mostly Q8_0 and Q4_0, since its rows do not fit; an 8B at Q2_K is Q2_K."""
    assert ln_ratio("gemma-3-270m-it", "Q2_K") < ln_ratio("Meta-Llama-3-8B-Instruct", "Q2_K")


def test_a_small_model_loses_more_of_its_quality_at_the_same_preset() -> None:
    def share_lost(name: str) -> float:
        model = load_catalog().find(name)
        full = estimate_quality(model, model.variant("F16")).value
        cut = estimate_quality(model, model.variant("Q3_K_M")).value
        assert full is not None
        assert cut is not None
        return 1 - cut / full

    assert share_lost("Llama-3.2-1B-Instruct") > share_lost("Llama-3.2-3B-Instruct")
    assert share_lost("Llama-3.2-3B-Instruct") > share_lost("Llama-3.1-8B-Instruct")


def test_gpt_oss_loses_nothing_in_the_type_it_was_released_in() -> None:
    assert ln_ratio("gpt-oss-20b", "MXFP4") < 0.001


@pytest.mark.parametrize("kind", KINDS)
@given(parameters=PARAMETERS, data=st.data())
def test_fewer_bits_of_the_same_kind_never_cost_less(kind: str, parameters: int, data: st.DataObject) -> None:
    more, less = sorted(data.draw(st.lists(st.sampled_from(KINDS[kind]), min_size=2, max_size=2)), key=_bits)[
        ::-1
    ]
    assert kind_of(more) == kind
    fine = quantization_loss(parameters, filled(more))
    coarse = quantization_loss(parameters, filled(less))
    assert fine.points.value <= coarse.points.value
    assert fine.points.high <= coarse.points.high


@given(
    st.sampled_from([name for names in KINDS.values() for name in names]),
    PARAMETERS,
    st.integers(1, 1000),
    st.booleans(),
)
def test_a_larger_model_never_loses_more(
    tensor_type: str, parameters: int, percent: int, imatrix: bool
) -> None:
    small = quantization_loss(parameters, filled(tensor_type), imatrix=imatrix)
    large = quantization_loss(parameters * (100 + percent) // 100, filled(tensor_type), imatrix=imatrix)
    assert large.points.value <= small.points.value


@given(st.dictionaries(st.sampled_from(sorted(TENSOR_TYPES)), st.integers(1, 10**10), min_size=1), PARAMETERS)
def test_a_loss_is_between_nothing_and_everything(bytes_by_type: dict[str, int], parameters: int) -> None:
    loss = quantization_loss(parameters, bytes_by_type, type_k="q4_0", type_v="q4_0", score=60.0)
    assert 0 <= loss.points.low <= loss.points.value <= loss.points.high <= 60
    assert loss.weights_points + loss.kv_points == pytest.approx(loss.points.value)


def test_an_importance_matrix_never_hurts() -> None:
    plain = quantization_loss(8_000_000_000, filled("Q3_K"))
    guided = quantization_loss(8_000_000_000, filled("Q3_K"), imatrix=True)
    assert guided.points.value < plain.points.value


def test_presets_of_a_family_are_in_order_for_every_model() -> None:
    """The presets of one kind, from most bits to least; a tie where a model's rows allow no difference."""
    ladder = ["Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q3_K_L", "Q3_K_M", "Q3_K_S"]
    for model in load_catalog().models:
        if not model.runnable:
            continue
        ratios = [
            variant_loss(model, model.variant(quant), "f16", "f16", 50.0).ln_perplexity_ratio.value
            for quant in ladder
            if any(variant.quant == quant for variant in model.variants)
        ]
        assert ratios == sorted(ratios), model.name


def test_q8_cache_is_nearly_free_and_q4_costs_less_than_losing_a_bit_of_weights() -> None:
    assert kv_ln_perplexity_ratio(8_000_000_000, "q8_0", "q8_0") < 0.001
    q4 = kv_ln_perplexity_ratio(8_000_000_000, "q4_0", "q4_0")
    assert 0.005 < q4 < ln_ratio("Llama-3.1-8B-Instruct", "Q4_K_M")


def test_a_cache_type_without_a_known_loss_is_refused_with_those_that_have_one() -> None:
    with pytest.raises(InvalidInputError, match=r"'q1_0'.*q8_0"):
        kv_ln_perplexity_ratio(8_000_000_000, "f16", "q1_0")


def _bits(tensor_type: str) -> float:
    return TENSOR_TYPES[tensor_type].bits_per_weight
