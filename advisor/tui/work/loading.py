"""Finding out what a device is, this machine or another."""

from __future__ import annotations

from textual.message import Message

from advisor.tui.messages import DeviceFailed, DeviceFound
from advisor.tui.state import Found, Problem


def load_device(given: str | None) -> Message:
    """The device that a name or a file means, None this machine, with what was measured on it."""
    from advisor.measured_speed import known_speeds_of
    from profiles.errors import ProfilesError
    from profiles.resolve import resolve_device

    try:
        device = resolve_device(given)
        if given is None:
            return DeviceFound(Found(given=given, device=device, known=known_speeds_of(device)))
        return DeviceFound(Found(given=given, device=device))
    except ProfilesError as error:
        return DeviceFailed(Problem(str(error), tuple(getattr(error, "nearest", ()))))
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return DeviceFailed(Problem(f"{error.strerror or error}{where}"))
