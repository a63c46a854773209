"""Calibrating this machine, as `slm-advisor calibrate` does, with a way to stop."""

from __future__ import annotations

from collections.abc import Callable

from textual.message import Message

from advisor.language import _
from advisor.sentences import translated
from advisor.tui.messages import CalibrationDone, CalibrationFailed, CalibrationStep
from advisor.tui.state import Problem
from profiles.device import Device
from profiles.engine.stop import Stop


def calibrate_here(device: Device, stop: Stop, strict: bool, post: Callable[[Message], object]) -> None:
    """Measure and, with `strict`, keep it. What goes wrong is posted, not raised."""
    from advisor.calibrate import calibrate
    from advisor.calibration_effect import effect
    from advisor.calibration_lab import Step
    from advisor.errors import AdvisorError
    from advisor.report.calibration import CalibrationDocument
    from profiles.calibration_store import save_calibration
    from profiles.errors import ProfilesError
    from quantize.errors import QuantizeError

    def report(step: Step) -> None:
        stop.check()
        post(CalibrationStep(step))

    try:
        calibration = calibrate(device, report=report, strict=strict, new_engine=stop.engine)
        path = str(save_calibration(calibration)) if strict else ""
    except (AdvisorError, ProfilesError, QuantizeError, OSError) as error:
        post(CalibrationFailed(None if stop.stopped else Problem(in_words(error))))
        return
    found = CalibrationDocument(
        calibration=calibration, path=path, effect=effect(device, calibration), device=device.name
    )
    post(CalibrationDone(found))


def in_words(error: Exception) -> str:
    """What happened and, where the error itself does not say, what to do."""
    from advisor.errors import ComponentMissingError
    from profiles.errors import EngineError

    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return translated(error.strerror or str(error)) + where
    failure = error.failure.kind if isinstance(error, EngineError) else None
    if isinstance(error, ComponentMissingError) or failure == "missing":
        return _(
            "The engine is not installed. In a terminal: slm-advisor engine install (it builds llama.cpp for this "
            "machine), then start again."
        )
    if failure in ("crashed", "killed"):
        words = _("{what}. Nothing else is lost: try again, or a smaller model or context.")
        return words.format(what=translated(str(error)))
    return translated(str(error))
