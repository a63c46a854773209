"""The devices of a fleet, a JSON line each, and how lines travel to the processes that answer them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice

import msgspec

from advisor.errors import AdvisorError, InvalidInputError
from profiles.device import Device
from profiles.errors import InvalidDeviceError, ProfilesError

Identity = str | int | float | None

MAX_LINE_BYTES = 1 << 20
LINES_A_CHUNK = 32


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """Lines that are answered together; `first` is the number of the first one, counted from 1."""

    first: int
    lines: tuple[bytes, ...]


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


def numbered_lines(chunk: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines of an encoded chunk with their numbers, those left out that are blank."""
    found = msgspec.msgpack.decode(chunk, type=Chunk)
    return ((found.first + index, line) for index, line in enumerate(found.lines) if line.strip())


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
            return None, msgspec.Raw(msgspec.json.encode(msgspec.json.decode(line, type=str)))
        fields = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        if "id" in fields:
            identity = msgspec.json.decode(fields.pop("id"), type=Identity)
        if "device" not in fields:
            return identity, msgspec.Raw(msgspec.json.encode(fields))
        device = fields.pop("device")
        if fields:
            raise BadLineError(f"beside 'device' a line may have 'id', not '{next(iter(fields))}'", identity)
        return identity, device
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadLineError(f"not a device: {error}", identity) from error


@lru_cache(maxsize=4096)
def device_of(text: bytes) -> Device:
    """The device of a JSON text, a name or an object; remembered, since fleets repeat theirs. Raises BadLineError."""
    from profiles.resolve import resolve_device

    try:
        given = msgspec.json.decode(text)
        if given is None:
            raise InvalidDeviceError("'device' is null: give a name or an object")
        return resolve_device(given)
    except (ProfilesError, InvalidInputError) as error:
        raise BadLineError(str(error), nearest=tuple(getattr(error, "nearest", ()))) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadLineError(f"not a device: {error}") from error
