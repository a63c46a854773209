"""What the converter's last words mean, and what to do."""

from __future__ import annotations

import re
import signal

from quantize.converter.folder import ModelFolder
from quantize.errors import ConversionError, NoRoomError, QuantizeError, TooLittleMemoryError

_LAST_LINES = 3
_LINE = 300
_TELLING = re.compile(r"^ERROR:|^[\w.]+(Error|Exception|Interrupt|Exit)\b")
_ELSEWHERE = "take a GGUF that somebody has published of it"
# What the output shows -> what happened, and what to do. Groups of the pattern are filled in; the first that fits.
_MEANINGS: tuple[tuple[str, str, str], ...] = (
    (
        r"Model (\S+) is not supported",
        "the architecture {0} is not known to {converter}",
        "take a GGUF that somebody has published of it, or choose another model",
    ),
    (
        r"BPE pre-tokenizer was not recognized",
        "its tokenizer is not known to {converter}, which knows tokenizers by what they make of a test sentence",
        "if it was trained or changed by you, use the tokenizer of the original model; else take a GGUF that somebody "
        "has published of it",
    ),
    (
        r"Can not map tensor '?([^'\n]+)'?",
        "the tensor {0} has no place in the GGUF of this architecture",
        "is config.json that of these weights? Else take a GGUF that somebody has published of it",
    ),
    (
        r"Quant method is not yet supported: (\S+)",
        "the method {0} cannot be undone",
        "use the original weights",
    ),
    (
        r"Tokenizer class (\S+) does not exist",
        "its tokenizer is a class {0} that transformers does not have",
        _ELSEWHERE,
    ),
    (
        r"(?:FileNotFoundError|ValueError|OSError): .*(tokenizer\.\w+|vocab\.\w+|merges\.txt|[Tt]okenizer)",
        "its tokenizer is incomplete",
        "download all tokenizer files of the model: tokenizer.json, tokenizer.model, tokenizer_config.json",
    ),
)
_CODE = re.compile(r"brings code of its own, which is not run")


def failure(code: int, said: str, model: ModelFolder, converter: str) -> QuantizeError:
    """The error for a converter that ended with exit code `code` after it wrote `said`."""
    if "No space left on device" in said:
        return NoRoomError(
            f"the disk became full while {model.path} was converted: free some, or choose another"
        )
    if code == -signal.SIGKILL:
        return TooLittleMemoryError(
            f"the system ended the conversion of {model.path}, most likely because memory ran out: "
            "close other programs"
        )
    start = f"{model.path} cannot be converted: "
    if _CODE.search(said):
        return ConversionError(f"{start}{_code(model)}")
    words = _last_words(said) or f"    exit code {code}, and it said nothing"
    told, advice = f"{converter} failed", _ELSEWHERE
    for pattern, what, remedy in _MEANINGS:
        found = re.search(pattern, said)
        if found:
            told, advice = what.format(*found.groups(), converter=converter), remedy
            break
    # What is wrong with its tokenizer or configuration may be that nobody ran the code that makes it.
    hint = f"\n  {_code(model)}" if model.code else ""
    return ConversionError(f"{start}{told}\n{words}{hint}\n  what to do: {advice}")


def _last_words(said: str) -> str:
    """What it said last, without the narration, and of a traceback only the error."""
    lines = [line.rstrip() for line in said.splitlines() if line.strip() and not line.startswith("INFO:")]
    telling = [line for line in lines if _TELLING.search(line)]
    return "\n".join(f"    {line[:_LINE]}" for line in (telling or lines)[-_LAST_LINES:])


def _code(model: ModelFolder) -> str:
    named = f" ({model.code[0]})" if model.code else ""
    return f"the model brings code of its own{named}, which slm-advisor never runs"
