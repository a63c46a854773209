"""Names of models as people write them: one spelling for many, and a table that finds what a name means.

A name is cut into parts at separators. Parts join without a separator unless a digit meets a digit, so that
"Qwen 2.5 3B", "qwen2.5:3b" and "Qwen2.5-3B" are one spelling, and "gemma-3-1b" is not "gemma-31b". Some parts
say how a model was trained or packed and not which one it is ("Instruct", "it", "hf", a month): a name may leave
them out, and the model that needs the fewest parts left out is meant.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from typing import Generic, TypeVar

Named = TypeVar("Named")

_SEPARATORS = re.compile(r"[\s_\-:,]+")
_OPTIONAL = re.compile(
    r"instruct|chat|it|hf|meta|preview|pt|gguf|bf16|f16|i1"
    r"|v\d+(\.\d+)?"  # v0.3
    r"|\d{4}|\d{6}"  # 2407, 202606
)
_PACKING = re.compile(
    # What a file name adds to a model's: "-Q4_K_M", ".q4_k_m", "-UD-Q4_K_XL", "-QAT-Q4_0", "-GGUF".
    r"([-_.:](ud|qat|gguf|i1|bf16|f16|f32|mxfp4(_moe)?|i?q\d+(_\d|_k|_k_(s|m|l|xl)|_(xxs|xs|s|m|nl|xl))?))+$",
    re.IGNORECASE,
)


def parts(name: str) -> list[str]:
    """The parts of a name, in lower case, without its organisation."""
    return [part for part in _SEPARATORS.split(name.rsplit("/", 1)[-1].lower()) if part]


def join(name_parts: Iterable[str]) -> str:
    """Parts as one spelling."""
    joined = ""
    for part in name_parts:
        joined += f"-{part}" if joined and joined[-1].isdigit() and part[0].isdigit() else part
    return joined


def canonical(name: str) -> str:
    """The one spelling of a name: "Qwen 2.5 3B" -> "qwen2.5-3b"."""
    return join(parts(name))


def shortened(name: str) -> list[tuple[int, str]]:
    """Each spelling of a name with optional parts left out, as (how many, spelling); the full one is first."""
    name_parts = parts(name)
    # The first part names the family: never left out, but for "Meta-Llama".
    optional = [i for i, part in enumerate(name_parts) if (i or part == "meta") and _OPTIONAL.fullmatch(part)]
    spellings: dict[str, int] = {}
    for count in range(min(len(optional), 4) + 1):
        for left_out in itertools.combinations(optional, count):
            spelling = join(part for i, part in enumerate(name_parts) if i not in left_out)
            if spelling:
                spellings.setdefault(spelling, count)
    return [(count, spelling) for spelling, count in spellings.items()]


class NameTable(Generic[Named]):
    """Which things a name may mean."""

    def __init__(self) -> None:
        self._exact: dict[str, Named] = {}
        self._loose: dict[str, list[tuple[int, Named]]] = {}
        self._shown: dict[str, str] = {}

    def add(self, thing: Named, names: Iterable[str]) -> None:
        """Register a thing under its names; the earliest thing keeps a name that two claim in full."""
        for name in names:
            self._exact.setdefault(name.lower(), thing)
            self._shown.setdefault(canonical(name), name)
            for count, spelling in shortened(name):
                self._loose.setdefault(spelling, []).append((count, thing))

    def candidates(self, text: str) -> list[Named]:
        """What `text` may mean, equally likely all; empty when nothing fits."""
        text = text.strip()
        exact = self._exact.get(text.lower())
        if exact is not None:
            return [exact]
        organisation, _, rest = text.partition("_")
        for spelled in dict.fromkeys(
            [text, _PACKING.sub("", text), *([rest, _PACKING.sub("", rest)] if organisation and rest else [])]
        ):
            for _, spelling in shortened(spelled):
                found = self._loose.get(spelling)
                if found:
                    fewest = min(count for count, _ in found)
                    return list({id(thing): thing for count, thing in found if count == fewest}.values())
        return []

    def nearest(self, text: str, n: int = 5) -> tuple[str, ...]:
        """Names that look like `text`, most alike first."""
        import difflib

        spelling = canonical(text)
        near = difflib.get_close_matches(spelling, self._shown, n=n, cutoff=0.5)
        if len(spelling) > 2:
            near += [known for known in self._shown if spelling in known and known not in near][: n - len(near)]
        return tuple(dict.fromkeys(self._shown[known] for known in near[:n]))
