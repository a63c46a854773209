"""The devices of a fleet, a JSON line each, and how lines travel to the processes that answer them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import TypeVar

import msgspec

from advisor.errors import AdvisorError
from profiles.device import Device
from profiles.errors import ProfilesError

Identity = str | int | float | None

MAX_LINE_BYTES = 1 << 20
_INTEGERS = range(-(1 << 63), 1 << 64)  # that an answer can carry
LINES_A_CHUNK = 32


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """Lines that are answered together; `first` is the number of the first one, counted from 1."""

    first: int
    lines: tuple[bytes, ...]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What every answer to a line says; `error` where it is no device, with the names that may have been meant."""

    line: int = 0
    id: Identity = None
    device: str | None = None
    error: str | None = None
    nearest: tuple[str, ...] = ()


A = TypeVar("A", bound=Answer)


class BadLineError(AdvisorError):
    """A line that cannot be answered; `identity` is the id it gives, `nearest` the names that may have been meant."""

    def __init__(self, message: str, identity: Identity = None, nearest: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.identity = identity
        self.nearest = nearest


def chunks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines in encoded chunks, read as they are asked for."""
    lines = iter(lines)
    first = 1
    while some := tuple(islice(lines, LINES_A_CHUNK)):
        yield msgspec.msgpack.encode(Chunk(first, some))
        first += len(some)


def answers(chunk: bytes, kind: type[A], answer: Callable[[bytes], A]) -> list[A]:
    """The answers to the lines of an encoded chunk, but for blank ones; `answer` gets the JSON text of a device.

    What goes wrong with a line is its answer: nothing is raised.
    """
    found = msgspec.msgpack.decode(chunk, type=Chunk)
    answered = []
    for number, line in enumerate(found.lines, found.first):
        if not line.strip():
            continue
        identity: Identity = None
        try:
            identity, text = read_line(line)
            said = msgspec.structs.replace(answer(bytes(text)), line=number, id=identity)
        except BadLineError as error:
            said = kind(
                line=number,
                id=identity if error.identity is None else error.identity,
                error=str(error),
                nearest=error.nearest,
            )
        except AdvisorError as error:
            said = kind(line=number, id=identity, error=str(error))
        except Exception as error:  # a fault of ours that one device brings out must not cost the others
            problem = f"internal error: {type(error).__name__}: {error}"
            said = kind(line=number, id=identity, error=problem)
        answered.append(said)
    return answered


def read_line(line: bytes) -> tuple[Identity, msgspec.Raw]:
    """The id that a line gives, if any, and the JSON text of its device.

    A line is a name of the library, an object with `device` (a name or an object) and perhaps `id`, or the device
    itself, as `profile --json` prints it. Raises BadLineError.
    """
    if len(line) > MAX_LINE_BYTES:
        raise BadLineError(f"the line is longer than the {MAX_LINE_BYTES} bytes allowed")
    identity: Identity = None
    try:
        if line.lstrip()[:1] != b"{":
            if not isinstance(name := msgspec.json.decode(line), str):
                raise BadLineError("a line is the name of a device, or an object with its fields")
            return None, msgspec.Raw(msgspec.json.encode(name))
        fields = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        if "id" in fields:
            identity = _identity(fields.pop("id"))
        if "device" not in fields:
            return identity, msgspec.Raw(msgspec.json.encode(fields))
        device = fields.pop("device")
        if fields:
            raise BadLineError(f"beside 'device' a line may have 'id', not '{next(iter(fields))}'", identity)
        return identity, device
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadLineError(f"not a device: {error}", identity) from error


def _identity(text: msgspec.Raw) -> Identity:
    found: Identity = msgspec.json.decode(text, type=Identity)
    if isinstance(found, int) and found not in _INTEGERS:
        raise BadLineError("the id is an integer of more than 64 bits: write it as a string")
    return found


@lru_cache(maxsize=4096)
def device_of(text: bytes) -> Device:
    """The device of a JSON text, a name of the library or an object; remembered, since fleets repeat theirs.

    Raises BadLineError. A name is never a file's: lines come from outside, and are answered on other machines too.
    """
    from profiles.device_file import read_device
    from profiles.library import find

    try:
        given = msgspec.json.decode(text)
        return find(given) if isinstance(given, str) else read_device(given)
    except ProfilesError as error:
        raise BadLineError(str(error), nearest=tuple(getattr(error, "nearest", ()))) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadLineError(f"not a device: {error}") from error
