"""The fits behind speed.json: they compute what the run time computes, and they do not peek."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import pytest

np = pytest.importorskip("numpy")

from advisor.making.accuracy import Judged, intervals_of, leave_one_chip_out, rate_of  # noqa: E402
from advisor.making.measurements import MEASUREMENTS, Measurement, read_measurements  # noqa: E402
from advisor.making.speed import coefficients_of, fit_all  # noqa: E402
from advisor.making.speed_fits import CpuDecodeFit, CpuPromptFit, DecodeFit, PromptFit  # noqa: E402
from advisor.speed_coefficients import coefficients  # noqa: E402

WHOLE = {"tg": (0.8, 1.2), "pp": (0.8, 1.2)}


@pytest.fixture(scope="module")
def sample() -> list[Measurement]:
    """A few chips of each kind: enough to fit, small enough to be quick."""
    wanted = {
        "RTX 3090",
        "RTX 4090",
        "M1 Max",
        "M3 Max",
        "Radeon RX 6700 XT",
        "Ryzen 9 7950X",
        "BCM2712",
        "Snapdragon 8 Elite Gen 5",
        "M2 Max",
    }
    return [row for row in read_measurements()[0] if row.chip in wanted]


def test_the_run_time_computes_what_was_fitted(sample: list[Measurement]) -> None:
    """Arrays in the fit and floats in the product give the same rates, test by test."""
    fitted = fit_all(sample)
    made = coefficients_of(fitted, WHOLE, {})

    def rows(test: str, cpu: bool) -> list[Measurement]:
        return [row for row in sample if row.test == test and (row.processor.backend == "cpu") is cpu]

    decode, prompt, cpu_decode, cpu_prompt = (
        np.array(list(named.values()))
        for named in (fitted.decode, fitted.prompt, fitted.cpu_decode, fitted.cpu_prompt)
    )
    models = [
        (DecodeFit(rows("tg", False), cpu_decode), decode),
        (PromptFit(rows("pp", False), decode, cpu_prompt, cpu_decode), prompt),
        (CpuDecodeFit(rows("tg", True)), cpu_decode),
        (CpuPromptFit(rows("pp", True), cpu_decode), cpu_prompt),
    ]
    for model, values in models:
        array = np.exp(-model.log_time(values))
        single = [rate_of(made, row) for row in model.table.rows]
        # Four digits of each coefficient, and the output head of a prompt's last token.
        assert array == pytest.approx(single, rel=0.02)


def test_beginning_from_the_fit_on_all_rows_tells_nothing_about_the_chip_left_out(
    sample: list[Measurement],
) -> None:
    """The warm start of leave-one-chip-out must not carry over what only the left-out chip had taught."""
    others = [row for row in sample if row.processor.backend != "metal"]
    warm = fit_all(others, fit_all(sample))
    cold = fit_all(others)
    assert warm.decode["efficiency/metal"] == cold.decode["efficiency/metal"]
    assert list(warm.decode.values()) == pytest.approx(list(cold.decode.values()), abs=0.05)


def test_a_row_is_judged_by_a_fit_without_its_chip(sample: list[Measurement]) -> None:
    """Making one chip's rates ten times higher moves its own predictions not at all."""
    few = [row for row in sample if row.test == "tg" and row.processor.backend == "cuda"]
    rest = [row for row in sample if row.processor.backend == "cpu" or row.test == "pp"]
    wild = [dataclasses.replace(row, rate=row.rate * 10) if row.chip == "RTX 4090" else row for row in few]

    def of_4090(judged: Sequence[Judged]) -> list[float]:
        return [one.predicted for one in judged if one.row.chip == "RTX 4090" and one.row.test == "tg"]

    plain = leave_one_chip_out(few + rest, fit_all(few + rest))
    moved = leave_one_chip_out(wild + rest, fit_all(wild + rest))
    assert of_4090(moved) == pytest.approx(of_4090(plain), rel=0.02)


def test_names_of_one_chip_are_one_chip() -> None:
    """ "RTX 4090", "NVIDIA RTX 4090 24GB" and a PC with one in it are left out together."""
    rows, _ = read_measurements()
    chips = {row.chip for row in rows if row.processor.backend == "cuda" and "4090" in row.chip}
    assert chips == {"RTX 4090", "RTX 4090 D"}
    assert {row.chip for row in rows if "M2 Max" in row.chip} == {"M2 Max"}


def test_intervals_hold_four_fifths_of_the_errors_they_are_made_of(sample: list[Measurement]) -> None:
    """An 80% interval that holds 95% promises too little, one that holds 60% too much."""
    generator = np.random.default_rng(7)
    rows = [row for row in sample if row.test == "tg"]
    judged = [
        Judged(row, predicted=row.rate * float(np.exp(generator.normal(0, 0.2))), flat=1.0, alone=False)
        for row in rows
        for _ in range(10)
    ]
    low, high = intervals_of(judged, {"tg": 1.0, "pp": 1.0})["tg"]
    inside = np.mean([low <= one.row.rate / one.predicted <= high for one in judged])
    assert 0.7 < inside < 0.9


def test_speed_json_was_fitted_on_the_measurements_that_are_here() -> None:
    """`python -m advisor.making.accuracy --write` has to run again when the measurements change."""
    digest = hashlib.sha256(MEASUREMENTS.read_bytes()).hexdigest()
    assert coefficients().provenance["sha256"] == digest


def test_what_speed_json_says_of_itself_is_what_was_promised() -> None:
    """Coverage of the intervals on chips that were left out, and the share of rows within 30%."""
    found = coefficients().provenance["leave_one_chip_out"]
    assert isinstance(found, dict)
    assert 0.75 <= found["tg"]["interval_coverage"] <= 0.85
    assert found["tg"]["median_error"] < 0.15


def test_every_row_left_out_has_a_reason() -> None:
    """Rows are left out by rule and counted, so that nobody can drop the hard ones in silence."""
    rows, left_out = read_measurements()
    total = len(MEASUREMENTS.read_text(encoding="utf-8").splitlines()) - 1
    assert len(rows) + sum(left_out.values()) == total
    assert sum(left_out.values()) < 0.12 * total
    assert all(reason for reason in left_out)
