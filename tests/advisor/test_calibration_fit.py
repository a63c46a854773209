"""The fit finds the terms that made the timings, and noise makes no term negative."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.calibration_fit import Depths, Timing, derived, fit_attention, fit_base, fit_type, non_negative
from advisor.calibration_models import CalibrationModel, attention, narrow, short_rows, wide
from advisor.processors import Processor, processors
from advisor.speed import estimate_speed
from profiles.device import Cpu, Device, Memory
from tests.advisor.calibrations import BATCH_SHARE, CALIBRATION, CPU, TYPES

SIZE = 256 << 20


def computer() -> Processor:
    device = Device(
        name="a box",
        class_="desktop-cpu",
        cpu=Cpu(name="AMD Ryzen 7 7700", performance_cores=8, cores=8),
        memory=Memory(bandwidth_bytes_per_s=8e10),
        calibration=CALIBRATION,
    )
    return processors(device)[-1]


def timing(model: CalibrationModel, depth: int = 0, noise: float = 1.0) -> Timing:
    """What the plan of the tests' calibration says the model takes."""
    n_prompt, n_gen = 128, 16

    def of(**request: int) -> tuple[float, float]:
        made = estimate_speed(computer(), model.load, depth=depth, **request)  # type: ignore[arg-type]
        assert made is not None
        return made.prompt.total_s, made.decode.total_s

    prompt_s, _ = of(n_prompt=n_prompt, n_gen=0)
    short_s, _ = of(n_prompt=16, n_gen=0)
    _, token_s = of(n_prompt=0, n_gen=n_gen)
    return Timing(
        load=model.load,
        n_prompt=n_prompt,
        depth=depth,
        prompt_s=prompt_s / n_prompt * noise,
        token_s=token_s * noise,
        position=depth + n_gen / 2,
        short_prompt=16,
        short_s=short_s,
    )


def test_the_terms_that_made_the_timings_are_found() -> None:
    """Overheads, a row, a type's rates and the cache, each within a few percent, from exact timings."""
    cache = fit_attention([Depths(timing(model), timing(model, 2048)) for model in attention()])
    assert cache.head_s == pytest.approx(CPU.head_s, rel=0.05)
    assert cache.flop_s == pytest.approx(CPU.attention_s_per_flop, rel=0.05)
    assert cache.byte_s == pytest.approx(CPU.cache_s_per_byte, rel=0.05)
    assert cache.prompt_flops == pytest.approx(CPU.prompt_attention_flops, rel=0.05)
    broad, rows = timing(wide("Q8_0", SIZE)), timing(short_rows("Q8_0", SIZE // 2))
    base, row_s = fit_base(timing(narrow("Q8_0", 0)), timing(narrow("Q8_0", SIZE)), broad, rows, cache)
    assert base.block_s == pytest.approx(CPU.block_s, rel=0.3)
    assert row_s == pytest.approx(TYPES["Q8_0"][1], rel=0.1)
    assert base.element_s == pytest.approx(CPU.element_s, rel=0.1)
    for name in ("Q8_0", "Q4_K", "Q5_0"):
        rate = fit_type(name, timing(wide(name, SIZE)), timing(short_rows(name, SIZE // 2)), base, cache)
        decode, row, prompt = TYPES[name]
        assert rate.decode_bytes_per_s == pytest.approx(decode, rel=0.03)
        assert rate.row_s == pytest.approx(row, rel=0.1, abs=3e-10)
        assert rate.prompt_weights_per_s == pytest.approx(prompt, rel=0.03)
        assert rate.batch_share == pytest.approx(BATCH_SHARE, rel=0.1)


@given(st.lists(st.floats(0.3, 3.0), min_size=6, max_size=6))
def test_noise_makes_no_term_negative_or_infinite(noise: list[float]) -> None:
    """A disturbed measurement gives a poor calibration, never one that divides by zero."""
    cache = fit_attention(
        [
            Depths(timing(model), timing(model, 2048, factor))
            for model, factor in zip(attention(), noise, strict=False)
        ]
    )
    broad, rows = timing(wide("Q8_0", SIZE), 0, noise[3]), timing(short_rows("Q8_0", SIZE), 0, noise[4])
    base, row_s = fit_base(
        timing(narrow("Q8_0", 0)), timing(narrow("Q8_0", SIZE), 0, noise[5]), broad, rows, cache
    )
    rate = fit_type("Q8_0", broad, rows, base, cache)
    assert all(0 <= term < 1 for term in (base.token_s, base.block_s, base.element_s, row_s, rate.row_s))
    assert 0 <= rate.batch_share <= 20
    assert 1e5 < rate.decode_bytes_per_s < 1e15
    assert 1e6 < rate.prompt_weights_per_s < 1e17
    assert 0 < cache.prompt_flops < 1e17


def test_what_was_not_measured_follows_the_nearest_of_its_family() -> None:
    """IQ3_S after IQ4_XS and slower, as published measurements have it; every type of the catalog has a rate."""
    measured = [fit for fit in CPU.types if fit.type != "F32"]
    rates = {rate.type: rate for rate in derived(measured, computer())}
    assert rates["F32"].derived_from == "F16"
    assert rates["Q4_1"].derived_from in ("Q5_0", "Q4_K")
    assert rates["IQ3_S"].derived_from is not None
    assert rates["IQ3_S"].decode_bytes_per_s < rates["Q4_K"].decode_bytes_per_s
    assert rates["Q8_0"].derived_from is None


def test_least_squares_without_negative_answers() -> None:
    """Exact where the answer is positive, zero where the best would be negative."""
    assert non_negative([(1.0, 0.0), (0.0, 2.0)]) == pytest.approx((1.0, 0.5))
    assert non_negative([(1.0, 1.0), (1.0, 2.0)])[1] == pytest.approx(0.0, abs=1e-6)
