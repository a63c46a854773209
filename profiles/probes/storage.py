"""Free space where models go and where temporary files go."""

from __future__ import annotations

from pathlib import Path

from profiles.device import Storage
from profiles.ledger import Ledger
from profiles.machine import Machine


def probe_storage(machine: Machine, ledger: Ledger) -> Storage:
    """The Hub's cache folder ($HF_HUB_CACHE, $HF_HOME, $XDG_CACHE_HOME, ~/.cache) and the temporary folder."""
    models, models_source = _models_path(machine)
    temporary, temporary_source = _temporary_path(machine)
    models_free = machine.disk_free(models) if models else None
    temporary_free = machine.disk_free(temporary)
    if models is None:
        ledger.note("models_path", "no home folder: set HF_HOME or XDG_CACHE_HOME")
        ledger.note("models_free_bytes", "there is no folder for models: see storage.models_path")
    elif models_free is None:
        ledger.note("models_free_bytes", f"the file system does not tell the free space at {models}")
    if temporary_free is None:
        ledger.note("temporary_free_bytes", f"the file system does not tell the free space at {temporary}")
    return Storage(
        models_path=ledger.fact("models_path", models, models_source),
        models_free_bytes=ledger.fact("models_free_bytes", models_free, f"file system at {models}"),
        temporary_path=ledger.fact("temporary_path", temporary, temporary_source),
        temporary_free_bytes=ledger.fact(
            "temporary_free_bytes", temporary_free, f"file system at {temporary}"
        ),
    )


def _models_path(machine: Machine) -> tuple[str | None, str]:
    """(folder, variable it comes from), in the order huggingface_hub looks."""
    home = machine.environ.get("HOME") or machine.environ.get("USERPROFILE")
    if not home and machine.is_local:
        # The password database may know a home that the environment lacks.
        try:
            home = str(Path.home())
        except RuntimeError:
            home = None
    for variable, below in (("HF_HUB_CACHE", ""), ("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")):
        value = machine.environ.get(variable)
        if value:
            if value.startswith("~") and home:
                value = home + value[1:]
            return (f"{value.rstrip('/')}/{below}" if below else value), f"${variable}"
    return (f"{home.rstrip('/')}/.cache/huggingface/hub", "home folder") if home else (None, "")


def _temporary_path(machine: Machine) -> tuple[str, str]:
    for variable in ("TMPDIR", "TEMP", "TMP"):
        value = machine.environ.get(variable)
        if value:
            return value, f"${variable}"
    return "/tmp", "the system's default"
