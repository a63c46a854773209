"""JSON that lies beside a model's weights, which comes from a stranger as they do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from quantize.errors import InvalidModelError

_MAX_JSON_BYTES = 1 << 24


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a stranger. Raises InvalidModelError."""
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise InvalidModelError(f"{path} has {path.stat().st_size:,} bytes, more than it can mean")
        found = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise InvalidModelError(f"{path} cannot be read: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidModelError(f"{path} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise InvalidModelError(f"{path} does not hold an object")
    return found
