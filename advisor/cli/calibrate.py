"""`slm-advisor calibrate`: measure what this device does with llama.cpp, in at most a minute, and keep it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from advisor.cli.output import narrate, write_json, write_text

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
    line = _Line()
    try:
        calibration = measure(device, report=line.show)
    finally:
        line.clear()
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


class _Line:
    """Progress: one line that is rewritten on a terminal, a line for each step elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr is not None and sys.stderr.isatty()

    def show(self, step: Step) -> None:
        text = f"{step.elapsed_s:3.0f} s  measuring {step.what} (at most {step.left_s:.0f} s left)"
        if self._terminal:
            sys.stderr.write(f"\r\x1b[K{text[:79]}")
            sys.stderr.flush()
        else:
            narrate(text)

    def clear(self) -> None:
        if self._terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
