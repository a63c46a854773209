"""Where calibrations are kept: one file for each device in the user's data folder.

A calibration holds for one device and one build of the engine. Another device has another file; one made with
another engine is not used.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from profiles.calibration import Calibration, problem_of
from profiles.data_folder import data_folder, write_whole

_SIZE_LIMIT_BYTES = 1 << 20


class Loaded(msgspec.Struct, frozen=True):
    """A calibration that holds, or why there is none; both None where none was ever made."""

    calibration: Calibration | None = None
    problem: str | None = None


def load_calibration(fingerprint: str, engine: str | None) -> Loaded:
    """The calibration of the device with `fingerprint`, if it was made with the engine that is installed.

    `engine`: its identity; None where none is installed, which leaves a calibration as it is: what is estimated
    may run elsewhere, or later. A damaged file is a problem, named and otherwise ignored.
    """
    path = _path(fingerprint)
    if path is None or not path.is_file():
        return Loaded()
    try:
        with path.open("rb") as file:
            content = file.read(_SIZE_LIMIT_BYTES + 1)
        if len(content) > _SIZE_LIMIT_BYTES:
            raise ValueError("larger than 1 MiB")
        calibration = msgspec.json.decode(content, type=Calibration)
        if problem := problem_of(calibration):
            raise ValueError(problem)
    except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        return Loaded(problem=f"{path} cannot be used ({error}); run 'slm-advisor calibrate' again")
    if calibration.fingerprint != fingerprint:
        return Loaded(problem="the calibration is of another device; run 'slm-advisor calibrate' again")
    if engine is not None and calibration.engine != engine:
        return Loaded(
            problem=f"the calibration was made with {calibration.engine}, now {engine} is installed; "
            "run 'slm-advisor calibrate' again"
        )
    return Loaded(calibration)


def save_calibration(calibration: Calibration) -> Path:
    """Keep `calibration` in place of the one before. Raises OSError where it cannot be written."""
    path = _path(calibration.fingerprint)
    if path is None:
        raise FileNotFoundError(2, "there is no home folder to keep it in; set XDG_DATA_HOME")
    write_whole(path, msgspec.json.format(msgspec.json.encode(calibration), indent=1))
    return path


def _path(fingerprint: str) -> Path | None:
    folder = data_folder()
    return None if folder is None else folder / "calibrations" / f"{fingerprint}.json"
