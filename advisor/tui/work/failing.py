"""What is said of an error, whatever work it ended."""

from __future__ import annotations

from advisor.language import _
from advisor.sentences import translated


def in_words(error: Exception) -> str:
    """What happened and, where the error itself does not say, what to do."""
    from advisor.errors import ComponentMissingError
    from profiles.errors import EngineError

    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return translated(error.strerror or str(error)) + where
    failure = error.failure.kind if isinstance(error, EngineError) else None
    if isinstance(error, ComponentMissingError) or failure == "missing":
        return _(
            "The engine is not installed. In a terminal: slm-advisor engine install (it builds llama.cpp for this "
            "machine), then start again."
        )
    if failure in ("crashed", "killed"):
        words = _("{what}. Nothing else is lost: try again, or a smaller model or context.")
        return words.format(what=translated(str(error)))
    return translated(str(error))
