"""Speed at grade `calibrated`: what must hold whatever was measured, and what a user would notice."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.calibration_effect import TYPICAL, effect
from advisor.catalog import load_catalog
from advisor.load import Load, load_of
from advisor.processors import Processor, processors
from advisor.speed import SpeedEstimate, estimate_speed
from advisor.speed_calibrated import thread_factor
from advisor.target import make_target
from advisor.workload import make_workload
from profiles.calibration import TypeRate
from profiles.device import Device
from profiles.library import find
from tests.advisor.calibrations import CALIBRATION, CPU

MODELS = ("Llama-3.2-1B", "Qwen3-30B-A3B", "Qwen3.5-0.8B", "gemma-3-4b", "LFM2-1.2B", "SmolLM2-135M")
QUANTS = ("F16", "Q8_0", "Q4_K_M", "Q4_0", "IQ2_XXS")


def device() -> Device:
    return msgspec.structs.replace(find("AMD Ryzen 9 7950X desktop"), calibration=CALIBRATION)


def cpu() -> Processor:
    return processors(device())[-1]


def load(model: str, quant: str = "Q4_K_M", kv: str = "F16") -> Load:
    entry = load_catalog().find(model)
    return load_of(entry, entry.variant(quant), kv, kv)


def estimate(
    work: Load, processor: Processor | None = None, n_prompt: int = 512, n_gen: int = 128, **more: object
) -> SpeedEstimate:
    made = estimate_speed(processor or cpu(), work, n_prompt=n_prompt, n_gen=n_gen, **more)  # type: ignore[arg-type]
    assert made is not None
    return made


every_load = st.builds(load, st.sampled_from(MODELS), st.sampled_from(QUANTS))


def test_a_calibrated_device_is_estimated_by_its_calibration() -> None:
    """The grade says so, the interval is narrower than that of data sheets, and threads are the measured best."""
    bare = processors(find("AMD Ryzen 9 7950X desktop"))[-1]
    made, spec = estimate(load("Llama-3.2-1B")), estimate(load("Llama-3.2-1B"), bare)
    assert {made.pp.evidence, made.tg.evidence, made.ttft_s.evidence} == {"calibrated"}
    assert made.tg.high / made.tg.low < spec.tg.high / spec.tg.low
    assert (cpu().threads, cpu().threads_batch) == (4, 8)


def test_the_time_of_a_token_is_the_sum_of_what_was_measured() -> None:
    """A Q8_0 model: bytes and rows at their rates, blocks, and the cache half-way through the answer."""
    work = load("SmolLM2-360M", "Q8_0")
    (group,) = (group for group in work.weights if group.type == "Q8_0")
    made = estimate(work, n_prompt=0, n_gen=0)
    rows = group.head_weights / 960 + (group.weights - group.head_weights) / work.row_length
    assert made.decode.weights_s["Q8_0"] == pytest.approx(group.bytes_ / 43e9 + rows * 10e-9)
    assert made.decode.overhead_s == pytest.approx(1e-4 + 32 * 2e-5)


def test_rows_are_counted_as_the_model_has_them() -> None:
    """SmolLM2-360M: 15 + 2 x 5 heads of 64, width 960, network 2,560; rows by hand."""
    rows = (15 + 5 + 5) * 64 + 960 + 2 * 2560 + 960
    weights = 960 * (25 * 64 + 15 * 64 + 3 * 2560)
    assert load("SmolLM2-360M").row_length == pytest.approx(weights / rows)


@given(every_load, st.integers(0, 100_000), st.integers(0, 100_000))
def test_more_depth_is_never_faster(work: Load, one: int, other: int) -> None:
    """A longer conversation never speeds the next token or the next prompt up."""
    shallow, deep = (estimate(work, depth=depth) for depth in sorted((one, other)))
    assert deep.tg.value <= shallow.tg.value
    assert deep.pp.value <= shallow.pp.value


@given(every_load, st.floats(0.05, 1.0))
def test_fewer_bytes_of_the_same_types_are_never_slower(work: Load, share: float) -> None:
    """A smaller model of the same make runs at least as fast."""
    groups = tuple(
        msgspec.structs.replace(
            group,
            bytes_=group.bytes_ * share,
            weights=group.weights * share,
            head_weights=group.head_weights * share,
        )
        for group in work.weights
    )
    smaller = msgspec.structs.replace(
        work, weights=groups, prompt_bytes=work.prompt_bytes * share, tail_weights=work.tail_weights * share
    )
    assert estimate(smaller).tg.value >= estimate(work).tg.value * (1 - 1e-12)
    assert estimate(smaller).pp.value >= estimate(work).pp.value * (1 - 1e-12)


@given(every_load, st.sampled_from(sorted(rate.type for rate in CPU.types)), st.floats(1.0, 8.0))
def test_a_faster_type_is_never_slower(work: Load, kind: str, factor: float) -> None:
    """Twice the measured rate of one tensor type makes no model slower."""

    def faster(rate: TypeRate) -> TypeRate:
        if rate.type != kind:
            return rate
        return msgspec.structs.replace(
            rate,
            decode_bytes_per_s=rate.decode_bytes_per_s * factor,
            prompt_weights_per_s=rate.prompt_weights_per_s * factor,
        )

    own = msgspec.structs.replace(CPU, types=tuple(faster(rate) for rate in CPU.types))
    better = msgspec.structs.replace(cpu(), calibration=own)
    assert estimate(work, better).tg.value >= estimate(work).tg.value * (1 - 1e-12)
    assert estimate(work, better).pp.value >= estimate(work).pp.value * (1 - 1e-12)


@given(every_load, st.integers(0, 8192), st.integers(1, 4096), st.integers(0, 8192))
def test_terms_add_up_and_intervals_hold_their_value(
    work: Load, n_prompt: int, n_gen: int, depth: int
) -> None:
    """What `--verbose` lists sums to what is promised, and no interval misses its own estimate."""
    made = estimate(work, None, n_prompt, n_gen, depth=depth)
    terms = made.decode
    parts = (
        terms.overhead_s + sum(terms.weights_s.values()) + terms.state_s + terms.kv_cache_s + terms.transfer_s
    )
    assert parts == pytest.approx(terms.total_s)
    for value in (made.pp, made.tg, made.ttft_s):
        assert 0 < value.low <= value.value <= value.high
    assert made == estimate(work, None, n_prompt, n_gen, depth=depth)


def test_threads_that_were_tried_are_judged_by_what_they_reached() -> None:
    """Eight threads generate more slowly than four here, and read prompts faster; between them lies between."""
    work = load("Llama-3.2-1B")
    four, six, eight = (
        estimate(work, n_prompt=0, threads=threads, threads_batch=8).tg.value for threads in (4, 6, 8)
    )
    assert eight < six < four
    assert eight / four == pytest.approx(220 / 250)
    slow = estimate(
        work, threads=4
    ).pp.value  # llama.cpp reads prompts with `threads` where nothing else is said
    assert slow / estimate(work, threads=4, threads_batch=8).pp.value == pytest.approx(1500 / 2500)


def test_threads_beyond_what_was_tried_fall_back_to_the_data_sheet() -> None:
    """Nothing is known of 32 threads, and the grade says so."""
    assert thread_factor(CPU, 32, prompt=False) is None
    assert estimate(load("Llama-3.2-1B"), threads=32).tg.evidence == "spec"


def test_a_card_without_a_calibration_keeps_the_grade_of_the_mixture_low() -> None:
    """Half on an uncalibrated card, half on a calibrated CPU: the worse grade of both."""
    card = processors(find("NVIDIA GeForce RTX 3080"))[0]
    mixed = estimate(load("Llama-3.2-1B"), card, offload_fraction=0.5, host=cpu())
    assert mixed.tg.evidence == "spec"
    assert estimate(load("Llama-3.2-1B")).tg.value < mixed.tg.value


def test_types_that_were_not_measured_widen_the_interval() -> None:
    """IQ2_XXS is not in this calibration: its rate is a guess from others."""
    known, guessed = estimate(load("Llama-3.2-1B", "Q8_0")), estimate(load("Llama-3.2-1B", "IQ2_XXS"))
    assert guessed.tg.high / guessed.tg.low > known.tg.high / known.tg.low


def test_recurrent_blocks_without_a_measured_cost_still_pay_for_their_state() -> None:
    """A calibration that had no time for Qwen3.5's blocks does not make them free."""
    bare = msgspec.structs.replace(cpu(), calibration=msgspec.structs.replace(CPU, kinds=()))
    assert estimate(load("Qwen3.5-0.8B"), bare).decode.state_s > 0


def test_a_recommendation_places_its_settings_by_the_calibration() -> None:
    """A target made from a calibrated device needs no bandwidth of its own."""
    unknown = msgspec.structs.replace(
        device(), memory=msgspec.structs.replace(device().memory, bandwidth_bytes_per_s=None)
    )
    target = make_target(unknown, make_workload())
    assert target.cpu is not None
    assert target.cpu.bandwidth_bytes_per_s == pytest.approx(6e10 / 0.8)


def test_what_a_calibration_changes_is_shown_for_typical_models() -> None:
    """Each typical model appears with its estimate before and after."""
    shown = effect(find("AMD Ryzen 9 7950X desktop"), CALIBRATION)
    assert len(shown) == len(TYPICAL)
    for each in shown:
        assert (each.tg_before.evidence, each.tg_after.evidence) == ("spec", "calibrated")
