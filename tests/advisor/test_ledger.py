"""The ledger says how good the estimates are here, and what to do where they are not."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from advisor.cli.main import run
from advisor.cli.schema import schema_of
from advisor.evidence import Value
from advisor.ledger import Ledger, make_ledger, size_class
from advisor.measurements import Measurement, record
from profiles.detect import detect
from profiles.fingerprint import fingerprint

ENGINE = "llama-cpp-python 0.3.36 (1a2b3c4d)"


def result(predicted: float | None, rate: float, *, grade: Any = "spec", **fields: Any) -> Measurement:
    """tg128 of Qwen2.5-1.5B-Instruct:Q4_K_M, predicted with an interval of a fifth to each side."""
    given = {
        "at": "2026-11-23T21:40:05Z",
        "evidence": "measured",
        "model": "Qwen/Qwen2.5-1.5B-Instruct",
        "quant": "Q4_K_M",
        "file": "model.gguf",
        "load_digest": "feedfeedfeedfeed",
        "parameters": 1_540_000_000,
        "main_type": "Q4_K",
        "device": "0123456789abcdef",
        "engine": ENGINE,
        "backend": "cpu",
        "threads": 2,
        "n_gen": 128,
        "tg": Value(rate, 0.98 * rate, 1.02 * rate, "measured"),
        **fields,
    }
    expected = None if predicted is None else Value(predicted, 0.8 * predicted, 1.2 * predicted, grade)
    return Measurement(**given, predicted_tg=expected)


def ledger(*found: Measurement) -> Ledger:
    return make_ledger(found, lambda each: f"{each.model}:{each.quant}")


def test_a_row_has_the_error_and_whether_the_interval_held() -> None:
    """Half as much again promised is +50%, and outside an interval of a fifth."""
    rows = ledger(result(15.0, 10.0), result(10.5, 10.0, depth=512)).rows
    assert [(row.test, row.inside) for row in rows] == [("tg128 @ d512", True), ("tg128", False)]
    assert [row.error for row in rows] == [pytest.approx(0.05), pytest.approx(0.5)]
    assert (rows[0].size_class, rows[0].tensor_type) == ("1.5B-4B", "Q4_K")


def test_errors_are_summed_up_by_grade_and_by_class() -> None:
    """Median of the absolute error, share inside, and whether the estimates promise too much."""
    made = ledger(
        result(12.0, 10.0, depth=1),
        result(11.0, 10.0, depth=2),
        result(15.0, 10.0, depth=3),
        result(10.0, 10.0, grade="calibrated", depth=4, main_type="Q8_0"),
    )
    assert [(each.grade, each.n) for each in made.grades] == [("calibrated", 1), ("spec", 3)]
    spec = made.grades[1]
    assert (spec.median_error, spec.bias) == (pytest.approx(0.2), pytest.approx(0.2))
    assert spec.inside == pytest.approx(2 / 3)
    assert [(each.grade, each.speed, each.backend, each.tensor_type, each.n) for each in made.classes] == [
        ("calibrated", "tg", "cpu", "Q8_0", 1),
        ("spec", "tg", "cpu", "Q4_K", 3),
    ]


def test_a_test_that_was_repeated_counts_once_with_its_newest_result() -> None:
    """All runs are listed; a hundred runs of one file are no hundred pieces of evidence."""
    made = ledger(*(result(10.0, 10.0 + i) for i in range(5)))
    assert len(made.rows) == 5
    assert [each.n for each in made.grades] == [1]
    assert made.grades[0].bias == pytest.approx(10 / 14 - 1)


def test_a_result_without_a_prediction_is_listed_and_not_judged() -> None:
    """Nothing is made up for it."""
    made = ledger(result(None, 10.0))
    assert [(row.error, row.inside) for row in made.rows] == [(None, None)]
    assert made.grades == ()
    assert made.verdict == "nothing"


JUDGED: dict[str, tuple[list[tuple[float, Any]], str, str]] = {
    "two tests": ([(10.0, "spec")] * 2, "too few", "bench"),
    "close": ([(10.5, "spec")] * 6, "trust", "relied on"),
    "far off within the intervals": ([(11.8, "spec")] * 6, "trust the intervals", "calibrate"),
    "far off outside": ([(20.0, "spec")] * 6, "do not trust", "slm-advisor calibrate"),
    "calibrated and far off": ([(20.0, "calibrated")] * 6, "do not trust", "calibrate again"),
    "calibrated counts, not what was before": (
        [(20.0, "spec")] * 6 + [(10.1, "calibrated")] * 6,
        "trust",
        "calibration",
    ),
}


@pytest.mark.parametrize("what", JUDGED)
def test_it_says_whether_the_estimates_can_be_trusted_and_what_to_do(what: str) -> None:
    """By the error and by how many measurements the intervals held."""
    pairs, verdict, words = JUDGED[what]
    found = [result(predicted, 10.0, grade=grade, depth=i) for i, (predicted, grade) in enumerate(pairs)]
    made = ledger(*found)
    assert made.verdict == verdict
    assert words in made.advice


def test_sizes_fall_into_classes() -> None:
    """From the smallest to the largest; unknown stays unknown."""
    sizes = [
        size_class(n) for n in (135_000_000, 1_200_000_000, 3_000_000_000, 8_000_000_000, 70_000_000_000)
    ]
    assert sizes == ["below 0.5B", "0.5B-1.5B", "1.5B-4B", "4B-10B", "10B and more"]
    assert size_class(None) is None


# --- the command


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A data folder with four results of this device and one of another."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    device = fingerprint(detect())
    for i in range(3):
        record(result(12.0, 10.0, device=device, depth=i))
    record(result(9.0, 10.0, device=device, model=None, file="\x1b[31mown.gguf"))
    record(result(9.0, 10.0, device="f" * 16, at="2026-11-24T00:00:00Z"))
    return device


def test_the_table_shows_predictions_beside_measurements(
    here: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In 80 columns, without colour, and without what a file's name would do to the terminal."""
    assert run(["ledger"]) == 0
    text = capsys.readouterr().out
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "~12.0 (9.6-14.4)" in text
    assert "m10.0" in text
    assert "+20%" in text
    assert "own.gguf" in text
    assert "\x1b" not in text


def test_json_and_csv_hold_every_row(here: str, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON holds its schema; CSV has a line a row and the same columns in each."""
    assert run(["ledger", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, schema_of("ledger"))
    assert document["device"] == here
    assert len(document["rows"]) == 4
    assert run(["ledger", "--csv", "--all-devices"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 5
    assert {row["device"] for row in rows} == {here, "f" * 16}
    assert rows[0]["measured_tokens_per_s"] == "10.0"
    assert run(["ledger", "--csv", "--json"]) == 2


def test_one_model_is_asked_for_by_any_of_its_names(here: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A name of the catalog, with or without a quantization, or a part of a file's name."""
    counts = {}
    for text in ("qwen2.5:1.5b", "Qwen2.5-1.5B-Instruct:q4_k_m", "Qwen2.5-1.5B-Instruct:Q8_0", "own"):
        assert run(["ledger", "--json", "--model", text]) == 0
        counts[text] = len(json.loads(capsys.readouterr().out)["rows"])
    assert list(counts.values()) == [3, 3, 0, 1]
    assert run(["ledger", "--model", "no such model"]) == 2


def test_damaged_lines_are_named_and_an_empty_ledger_says_how_to_fill_it(
    here: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is named, so that it can be looked at; nothing measured is no error."""
    path = tmp_path / "slm-advisor" / "measurements" / f"{here}.jsonl"
    with path.open("ab") as file:
        file.write(b"{nonsense\n")
    assert run(["ledger", "--json"]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert notes == [f"1 damaged line in {path} left out"]
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "empty"))
    assert run(["ledger"]) == 0
    assert "slm-advisor bench" in capsys.readouterr().out
