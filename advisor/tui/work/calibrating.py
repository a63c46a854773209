"""Calibrating this machine, as `slm-advisor calibrate` does, with a way to stop."""

from __future__ import annotations

from collections.abc import Callable

from textual.message import Message

from advisor.tui.messages import CalibrationDone, CalibrationFailed, CalibrationStep
from advisor.tui.state import Problem
from advisor.tui.work.failing import in_words
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
