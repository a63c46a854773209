"""Finding out what a device is, this machine or another; which files are here; and what later screens import."""

from __future__ import annotations

import importlib
import pkgutil

from textual.message import Message

from advisor.tui.messages import DeviceFailed, DeviceFound, FilesListed
from advisor.tui.state import Found, Problem
from advisor.tui.work.failing import in_words


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
    except (ProfilesError, OSError) as error:
        return DeviceFailed(Problem(in_words(error), tuple(getattr(error, "nearest", ()))))


def list_files() -> Message:
    """The model files in the usual folders: thousands of names, on a disk that may be slow."""
    from advisor.local_files import Shelf, usual_folders

    return FilesListed(Shelf(usual_folders()))


def import_the_rest() -> None:
    """Import what the first screen did without, so that no key press waits for it."""
    from advisor.tui import screens

    for module in pkgutil.iter_modules(screens.__path__):
        importlib.import_module(f"{screens.__name__}.{module.name}")
    importlib.import_module("advisor.tui.widgets.front")
