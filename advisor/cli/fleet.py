"""The parts of `recommend` and `verify` that answer a fleet of devices, a JSON line each."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click
import msgspec

from advisor.cli.lines import bounded_lines, lines_of
from advisor.cli.output import envelope, narrate, write_line, write_text
from advisor.fleet.devices import MAX_LINE_BYTES

if TYPE_CHECKING:
    from advisor.fleet.decide import Question
    from advisor.fleet.recommend_fleet import MapChunks
    from advisor.verify import VerifyPlan

_PROGRESS_S = 5.0
_SPOOL_IN_MEMORY_BYTES = 1 << 20


def answer_fleet(
    source: str, question: Question, share: float, *, ray: str | None, top: int, as_json: bool
) -> int:
    """Stream the answers to stdout as JSON lines, and the fleet's after them; or the fleet's alone as text.

    Returns 3 where a line could not be answered or nothing fits on a device.
    """
    from advisor.fleet.recommend_fleet import recommend_fleet
    from advisor.report.fleet_text import fleet_text

    with ExitStack() as stack:
        # On disk only where it is needed: a file is read twice without it.
        spool = tempfile.SpooledTemporaryFile(max_size=_SPOOL_IN_MEMORY_BYTES)  # noqa: SIM115
        stack.callback(_close, spool)
        document = recommend_fleet(
            question,
            share,
            _Lines(source, spool),
            _mapper(ray),
            _print if as_json else lambda _: None,
            _Progress(),
        )
    if as_json:
        _print(document, schema="fleet")
    else:
        write_text(fleet_text(document, top=top))
    return 3 if document.failed or document.without or not document.devices else 0


def verify_the_fleet(source: str, plan: VerifyPlan, *, as_json: bool) -> int:
    """Stream the verdicts to stdout as JSON lines, and the fleet's after them; or the fleet's alone as text."""
    from advisor.fleet.process_pool import map_on_processes
    from advisor.fleet.verify_fleet import verify_fleet
    from advisor.report.fleet_text import fleet_verification_text

    def lines() -> Iterator[bytes]:
        return lines_of(source, MAX_LINE_BYTES)

    answered = _print if as_json else lambda _: None
    result = verify_fleet(plan, lines, map_on_processes, answered, _Progress())
    if as_json:
        _print(result, schema="fleet-verification")
    else:
        write_text(fleet_verification_text(result))
    return result.exit_code


class _Lines:
    """The lines of a source as often as they are asked for; what can be read only once is kept in `spool`."""

    def __init__(self, source: str, spool: IO[bytes]) -> None:
        self._source, self._spool = source, spool
        self._kept = source == "-" or not Path(source).is_file()
        self._read = False

    def __call__(self) -> Iterator[bytes]:
        if self._kept and self._read:
            with _keeping_errors():
                self._spool.seek(0)
            return bounded_lines(self._spool, MAX_LINE_BYTES)
        self._read = True
        lines = lines_of(self._source, MAX_LINE_BYTES)
        return self._keeping(lines) if self._kept else lines

    def _keeping(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        for line in lines:
            with _keeping_errors():
                self._spool.write(line if line.endswith(b"\n") else line + b"\n")
            yield line


@contextmanager
def _keeping_errors() -> Iterator[None]:
    """Say of a full disk what it was needed for."""
    from quantize.errors import NoRoomError

    try:
        yield
    except OSError as error:
        raise NoRoomError(
            "devices that can be read only once are kept in a temporary file, and it cannot be written: "
            f"{error.strerror or error}; give them as a file, or set TMPDIR to a folder with room"
        ) from error


def _close(spool: IO[bytes]) -> None:
    with suppress(OSError):  # what a full disk did not take is not needed any more
        spool.close()


class _Progress:
    """A line on stderr now and then."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, what: str, count: int) -> None:
        if time.monotonic() - self._said >= _PROGRESS_S:
            self._said = time.monotonic()
            narrate(f"{count:,} {what}")


def _mapper(ray: str | None) -> MapChunks:
    if ray is None:
        from advisor.fleet.process_pool import map_on_processes

        return map_on_processes
    from advisor.fleet.ray_pool import map_on_ray

    return partial(map_on_ray, ray)


def _print(answer: msgspec.Struct, schema: str | None = None) -> None:
    write_line(answer if schema is None else {**envelope(schema), **msgspec.to_builtins(answer)})


def check_fleet(context: click.Context, source: str, given: str) -> None:
    """Refuse what is about one device beside a fleet of them."""
    if given:
        raise click.UsageError(f"--devices answers for many devices: leave {given} out", context)
    if source != "-" and not Path(source).exists():
        raise click.UsageError(f"there is no file '{source}'", context)
