"""How quality.json is made: reading scores, and the factor model on scores whose truth is known."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("numpy")
pytest.importorskip("scipy")

import numpy as np

from advisor.making import quality, scores
from advisor.making.abilities import Background, Item, Observation, fit
from advisor.making.scores import Row
from advisor.quality_table import load_table

ROW = Row("a/Model", "OLLBv2-norm/IFEval", 50.0, "% chance-normalised", "")


@pytest.fixture(scope="module")
def observed() -> list[Observation]:
    return scores.observations(scores.read_rows())


def test_the_shipped_table_is_made_from_the_scores_and_losses_of_this_checkout(
    observed: list[Observation],
) -> None:
    """If this fails: `make quality`."""
    assert load_table().inputs_sha256 == quality.inputs_digest(observed)


def test_no_model_has_a_value_without_a_score(observed: list[Observation]) -> None:
    scored = {o.model for o in observed}
    table = load_table()
    assert {name for name in table.models if name not in table.via} <= scored
    assert {via for name, via in table.via.items() if name not in scored} <= scored


def test_a_score_is_read_as_a_share_of_full_marks() -> None:
    (observation,) = scores.observations([ROW])
    assert (observation.model, observation.score) == ("a/Model", 0.5)
    assert observation.item.axes == ("instructions",)


def test_a_base_models_score_counts_for_the_tuned_model_as_another_harness() -> None:
    base = Row("Qwen/Qwen3-8B-Base", "Swallow/en_pre/MMLU", 0.7, "0-1", "")
    (observation,) = scores.observations([base])
    assert (observation.model, observation.item.kind) == ("Qwen/Qwen3-8B", "base")


def test_a_base_models_vendor_score_is_not_used() -> None:
    assert (
        scores.observations([Row("google/gemma-3n-E2B", "MMLU", 0.6, "as reported (mostly 0-1)", "")]) == []
    )


def test_a_benchmark_that_no_table_names_is_not_used() -> None:
    assert scores.observations([Row("a/Model", "ChartQA", 0.8, "as reported (mostly 0-1)", "")]) == []


def test_the_fit_finds_the_abilities_that_made_the_scores() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=60)
    items = [
        Item(key=f"{harness}/{n}", harness=harness, axes=("general",), spread=0.01)
        for harness in ("one", "two")
        for n in range(5)
    ]
    observed = [
        Observation(f"m{m}", item, _logistic(ability + 0.3 * k - 1 + rng.normal(scale=0.1)))
        for m, ability in enumerate(truth)
        for k, item in enumerate(items)
        # Ten models tie the harnesses together; the others are in one of them.
        if m < 10 or (m % 2 == 0) == (item.harness == "one")
    ]
    fitted = fit(observed)
    found = np.array([fitted.abilities[f"m{m}"].mean[0] for m in range(len(truth))])
    assert np.corrcoef(found, truth)[0, 1] > 0.97


def test_a_model_with_one_score_is_less_certain_than_one_with_ten() -> None:
    items = [Item(key=f"h/{n}", harness="h", axes=("general",)) for n in range(10)]
    observed = [Observation(f"m{m}", item, 0.2 + 0.06 * m) for m in range(10) for item in items]
    fitted = fit([*observed, Observation("few", items[0], 0.5)])
    assert fitted.abilities["few"].covariance[0, 0] > fitted.abilities["m5"].covariance[0, 0]


def test_size_moves_a_model_with_few_scores_and_gives_none_to_a_model_without() -> None:
    items = [Item(key=f"h/{n}", harness="h", axes=("general",)) for n in range(6)]
    background = {f"m{m}": Background(ln_billions=float(m)) for m in range(20)}
    observed = [Observation(f"m{m}", item, 0.1 + 0.04 * m) for m in range(20) for item in items]
    background |= {"small": Background(ln_billions=0.0), "large": Background(ln_billions=19.0)}
    observed += [Observation(name, items[0], 0.5) for name in ("small", "large")]
    fitted = fit(observed, background)
    assert fitted.abilities["small"].mean[0] < fitted.abilities["large"].mean[0]
    assert "unscored" not in fit(observed, background | {"unscored": Background(3.0)}).abilities


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))
