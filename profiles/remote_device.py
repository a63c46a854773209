"""The device at the other end of a command: `collect.sh` runs there, the probes run here on what it read."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import msgspec

from profiles.collected import SCRIPT, Collected, CollectedMachine, read_collected
from profiles.detect import detect
from profiles.device import Device, Note
from profiles.errors import RemoteAnswerError, with_output
from profiles.remote import LIMIT_BYTES, TIMEOUT_S, Report, exchange

NOTE = Note("", "read over a shell on the target; nothing was measured there")


def detect_remote(
    prefix: Sequence[str], *, timeout_s: float = TIMEOUT_S, report: Report | None = None
) -> Device:
    """What the machine is that `prefix` (from `profiles.remote.split_prefix`) leads to.

    timeout_s: bound in seconds. report: gets a line every five seconds while nothing comes.
    Raises what `profiles.remote.run_remote` raises, and RemoteAnswerError for an answer that is not the script's.
    """
    collected = collect(prefix, timeout_s=timeout_s, report=report)
    try:
        machine = CollectedMachine(collected)
    except RemoteAnswerError as error:
        raise RemoteAnswerError(f"'{shlex.join(prefix)}': {error}") from None
    device = detect(machine)
    return msgspec.structs.replace(device, notes=(*device.notes, NOTE))


def collect(
    prefix: Sequence[str], *, timeout_s: float = TIMEOUT_S, report: Report | None = None
) -> Collected:
    """What `collect.sh` reads on the target, checked."""
    script = SCRIPT.read_text("utf-8")
    result = exchange(prefix, script, timeout_s=timeout_s, limit_bytes=LIMIT_BYTES, report=report)
    if result.exit_code != 0:
        raise RemoteAnswerError(
            f"the script failed on the target of '{shlex.join(prefix)}' with exit code {result.exit_code}: "
            "is its shell a POSIX shell?"
        )
    try:
        return read_collected(result.stdout)
    except RemoteAnswerError as error:
        raise RemoteAnswerError(
            with_output(
                f"'{shlex.join(prefix)}' gave an answer that cannot be used: {error}",
                advice="see that nothing else prints there while the script runs, and try again",
            )
        ) from None
