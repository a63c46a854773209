"""`slm-advisor calibrate`: measure what this device does with llama.cpp, in at most a minute, and keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from advisor.cli.output import write_json, write_text
from advisor.cli.status import StatusLine

if TYPE_CHECKING:
    from advisor.calibration_lab import Step


@click.command(epilog="Example: slm-advisor calibrate && slm-advisor recommend")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def calibrate(as_json: bool) -> None:
    """Measure this device with small synthetic models, in at most a minute, and keep the result.

    From then on 'recommend' and 'estimate' use it, until the device or the engine changes. Nothing is downloaded.
    """
    from advisor.calibrate import calibrate as measure
    from advisor.calibration_effect import effect
    from advisor.errors import InvalidInputError
    from advisor.report.calibration import CalibrationDocument, as_text
    from profiles.calibration_store import save_calibration
    from profiles.resolve import resolve_device

    device = resolve_device()
    line = StatusLine()

    def show(step: Step) -> None:
        line.show(
            f"{step.elapsed_s:3.0f} s  measuring {step.what} (at most {step.left_s:.0f} s left)",
            milestone=True,
        )

    try:
        calibration = measure(device, report=show)
    finally:
        line.end()
    try:
        path = str(save_calibration(calibration))
    except OSError as error:
        raise InvalidInputError(
            f"the calibration cannot be kept: {error.filename or ''} {error.strerror or error}; "
            "set XDG_DATA_HOME to a folder that can be written"
        ) from error
    document = CalibrationDocument(
        calibration=calibration, path=path, effect=effect(device, calibration), device=device.name
    )
    if as_json:
        write_json("calibration", document)
    else:
        write_text(as_text(document))
