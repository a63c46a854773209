"""The quality estimate, on the shipped table and the shipped catalog."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.catalog import Model, load_catalog
from advisor.quality import AXES, TASK_WEIGHTS, axis_scores, axis_weights, estimate_quality
from advisor.workload import TASKS, Task

RUNNABLE = [model for model in load_catalog().models if model.runnable]
SCORED = [model for model in RUNNABLE if axis_scores(model.id)]
LANGUAGES = st.lists(st.sampled_from(["en", "ja", "de", "zh", "sw"]), max_size=3, unique=True).map(tuple)


def model(name: str) -> Model:
    return load_catalog().find(name)


def points(name: str, task: Task = "general", *languages: str, quant: str = "Q4_K_M") -> float:
    """The value for a model that is known to have one."""
    found = model(name)
    value = estimate_quality(found, found.variant(quant), task, languages).value
    assert value is not None, f"{name} has no score"
    return value


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("Qwen3-8B", "Qwen2.5-1.5B-Instruct"),
        ("Qwen3-4B", "Llama-2-7b-chat-hf"),
        ("gemma-3-12b-it", "gemma-3-4b-it"),
        ("gemma-3-4b-it", "gemma-3-1b-it"),
        ("gemma-4-E4B-it", "gemma-3-4b-it"),
        ("Llama-3.2-1B-Instruct", "pythia-1b"),
        ("TinyLlama-1.1B-Chat-v1.0", "pythia-70m"),
        ("Mistral-Nemo-Instruct-2407", "zephyr-7b-beta"),
    ],
)
def test_an_expert_would_agree_which_of_two_is_better_for_chat(better: str, worse: str) -> None:
    assert points(better, "chat") > points(worse, "chat")


def test_a_model_with_more_parameters_can_be_worth_its_bits() -> None:
    """The common question: the 8B at three bits or the 4B at eight, and where that stops."""
    assert points("Qwen3-8B", quant="Q3_K_M") > points("Qwen3-4B", quant="Q8_0")
    assert points("Qwen3-8B", quant="IQ1_S") < points("Qwen3-4B", quant="Q8_0")


def test_a_model_that_nobody_scored_has_no_number_but_a_reason() -> None:
    unscored = next(m for m in RUNNABLE if not axis_scores(m.id))
    quality = estimate_quality(unscored, unscored.variants[0], "chat")
    assert (quality.value, quality.low, quality.high) == (None, None, None)
    assert not quality.known
    assert quality.reason_if_unknown == "no published score of this model is known"
    assert quality.loss is None


def test_every_axis_is_on_the_scale_and_names_where_it_is_from() -> None:
    for scored in SCORED:
        scores = axis_scores(scored.id)
        assert "general" in scores, scored.id
        for axis, score in scores.items():
            assert 0 < score.value < 100
            assert score.standard_error > 0
            assert score.sources or axis != "general", f"{scored.id}: {axis}"


def test_the_scale_is_the_anchor_harness() -> None:
    """Averages on the Open LLM Leaderboard v2, as advisor/catalog/*.toml has them."""
    averages = {
        "Qwen2.5-14B-Instruct": 32.18,
        "Qwen2.5-7B-Instruct": 26.87,
        "Qwen2.5-0.5B-Instruct": 8.38,
        "gemma-2-9b-it": 28.86,
        "Llama-3.2-1B-Instruct": 13.81,
        "SmolLM2-1.7B-Instruct": 14.75,
        "pythia-1b": 4.97,
    }
    misses = [axis_scores(model(name).id)["general"].value - average for name, average in averages.items()]
    assert max(map(abs, misses)) < 8
    assert abs(sum(misses) / len(misses)) < 4


def test_a_task_without_scores_on_its_axis_says_so_and_is_less_certain() -> None:
    coder = model("Qwen2.5-14B-Instruct")
    assert "long_context" not in axis_scores(coder.id)
    known = estimate_quality(coder, coder.variant("Q8_0"), "general")
    borrowed = estimate_quality(coder, coder.variant("Q8_0"), "summarize")
    assert "no long_context score: read off the general one" in borrowed.notes
    use = next(use for use in borrowed.axes if use.axis == "long_context")
    assert use.borrowed
    assert use.standard_error > axis_scores(coder.id)["general"].standard_error
    assert known.known


def test_scores_of_another_version_are_named() -> None:
    swallow = model("TinySwallow-1.5B-Instruct")
    quality = estimate_quality(swallow, swallow.variant("Q8_0"))
    assert "scores are those of SakanaAI/TinySwallow-1.5B" in quality.notes


def test_vendor_reported_scores_are_called_that() -> None:
    mini = model("Phi-4-mini-reasoning")
    quality = estimate_quality(mini, mini.variant("Q8_0"), "reasoning")
    assert "only vendor-reported scores" in quality.notes


def test_japanese_puts_a_japanese_model_above_a_better_english_one() -> None:
    japanese, english = "Gemma-2-Llama-Swallow-9b-it-v0.1", "Falcon3-10B-Instruct"
    assert points(japanese, "chat") < points(english, "chat")
    assert points(japanese, "chat", "ja") > points(english, "chat", "ja")


def test_a_language_the_model_was_not_made_for_costs_most_of_its_quality() -> None:
    phi = model("Phi-4-reasoning-plus")
    assert phi.languages == ("en",)
    german = estimate_quality(phi, phi.variant("Q8_0"), "chat", ("de",))
    assert "not made for de: 60% of the quality is counted" in german.notes
    assert german.value is not None
    assert german.value < points("Phi-4-reasoning-plus", "chat", quant="Q8_0")


@given(st.sampled_from(TASKS), LANGUAGES)
def test_the_shares_of_a_task_add_up_to_one(task: Task, languages: tuple[str, ...]) -> None:
    weights = axis_weights(task, languages)
    assert sum(weights.values()) == pytest.approx(1)
    assert set(weights) <= set(AXES)
    assert ("japanese" in weights) == ("ja" in languages)


def test_every_task_of_a_workload_has_shares() -> None:
    assert set(TASK_WEIGHTS) == set(TASKS)


@given(st.sampled_from(SCORED), st.sampled_from(TASKS), LANGUAGES, st.data())
def test_the_value_lies_in_its_interval_and_on_the_scale(
    scored: Model, task: Task, languages: tuple[str, ...], data: st.DataObject
) -> None:
    variant = data.draw(st.sampled_from(scored.variants))
    quality = estimate_quality(scored, variant, task, languages)
    assert quality.value is not None
    assert quality.low is not None
    assert quality.high is not None
    assert 0 <= quality.low <= quality.value <= quality.high <= 100


@given(st.sampled_from(SCORED), st.sampled_from(TASKS), st.data())
def test_a_smaller_cache_type_is_never_better(scored: Model, task: Task, data: st.DataObject) -> None:
    variant = data.draw(st.sampled_from(scored.variants))
    values = [
        estimate_quality(scored, variant, task, (), kv_type, kv_type).value
        for kv_type in ("f16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")
    ]
    assert values == sorted(values, key=lambda value: -(value or 0))


def test_quantizing_never_makes_a_model_better() -> None:
    for scored in SCORED:
        full = estimate_quality(scored, scored.variant("F16")).value
        for variant in scored.variants:
            value = estimate_quality(scored, variant).value
            assert value is not None
            assert full is not None
            assert value <= full, f"{scored.name}:{variant.quant}"
