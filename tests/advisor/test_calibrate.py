"""Calibrating with the real engine: small models, so that it takes seconds; what holds does not depend on speed."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest

from advisor import calibrate as module
from advisor.calibrate import calibrate
from advisor.calibration_lab import Lab, OutOfTimeError, Step
from advisor.cli.main import run
from advisor.errors import NotEnoughEvidenceError
from profiles.bandwidth import MIB
from profiles.calibration import Calibration, problem_of
from profiles.detect import detect
from profiles.engine.installed import installed_engine
from profiles.fingerprint import fingerprint
from profiles.resolve import resolve_device

pytestmark = pytest.mark.engine


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Models of 4 MB, on a machine that may be busy, in folders of the test's own."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(module, "_SMALLEST_BYTES", 4 * MIB)
    monkeypatch.setattr(module, "_model_bytes", lambda _: 4 * MIB)
    return scratch


def quick(**more: object) -> Calibration:
    # A busy machine needs longer than the minute that a user is promised on a quiet one.
    return calibrate(detect(), strict=False, **{"budget_s": 300.0, **more})  # type: ignore[arg-type]


def test_a_calibration_is_of_this_device_and_engine(small: Path) -> None:
    """What was asked for is measured, the rest derived, all of it within bounds, and the files are gone."""
    steps: list[Step] = []
    made = quick(types=("Q4_K", "Q5_0"), report=steps.append)
    engine = installed_engine()
    assert engine is not None
    assert (made.fingerprint, made.engine) == (fingerprint(detect()), engine.identity)
    own = made.backends[0]
    assert problem_of(made) is None
    measured = {rate.type for rate in own.types if rate.derived_from is None}
    assert measured == {"Q8_0", "Q4_K", "Q5_0"}
    assert {"F16", "Q6_K", "IQ1_S"} < {rate.type for rate in own.types}
    assert {kind.kind for kind in own.kinds} == {"experts", "deltanet", "mamba2"}
    assert {rate.threads for rate in own.by_threads} >= {1, own.threads, own.threads_batch}
    assert steps[0].elapsed_s <= steps[-1].elapsed_s
    assert list(small.iterdir()) == []


def test_a_budget_too_small_for_the_first_models_is_said(small: Path) -> None:
    """A very slow device keeps its estimates from data sheets, and nothing is left behind."""
    with pytest.raises(NotEnoughEvidenceError, match="spec"):
        quick(budget_s=3.3)
    assert list(small.iterdir()) == []


def test_what_time_is_short_for_is_derived_and_named() -> None:
    """The clock runs out after the first models: a calibration all the same, with a note of what is missing."""
    clock = {"deadline": False}

    def stop_later(step: Step) -> None:
        clock["deadline"] = clock["deadline"] or step.what.startswith("Q6_K")

    original = Lab.measure

    def measure(self: object, *given: object, **more: object) -> object:
        if clock["deadline"]:
            raise OutOfTimeError
        return original(self, *given, **more)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lab, "measure", measure)
        made = quick(types=("Q4_K", "Q6_K", "Q5_K"), report=stop_later)
    assert "Q5_K" in made.notes[0]
    rates = {rate.type: rate for rate in made.backends[0].types}
    assert rates["Q5_K"].derived_from in ("Q4_K", "Q6_K")


def test_interrupting_leaves_nothing_behind(small: Path) -> None:
    """Ctrl-C in the middle: no temporary files, no calibration."""

    def interrupt(step: Step) -> None:
        if step.what.startswith("cache"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick(report=interrupt)
    assert list(small.iterdir()) == []


def test_the_command_keeps_it_and_the_next_start_uses_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`calibrate --json`, then `profile` and `estimate` of this machine at grade `calibrated`."""
    monkeypatch.setattr(module, "calibrate", functools.partial(calibrate, types=(), strict=False))
    assert run(["calibrate", "--json"]) == 0
    written = capsys.readouterr()
    document = json.loads(written.out)
    assert document["schema"] == "slm-advisor/calibration"
    assert Path(document["path"]).is_file()
    assert "measuring" in written.err
    assert run(["profile"]) == 0
    assert "calibrated" in capsys.readouterr().out
    assert run(["estimate", "SmolLM2-135M-Instruct:Q8_0", "--backend", "cpu", "--json"]) == 0
    assert '"evidence": "calibrated"' in capsys.readouterr().out
    assert resolve_device().calibration is not None
