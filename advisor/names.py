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
_TRAINING = r"instruct\d*|chat|it"
_STORAGE = r"hf|meta|gguf|bf16|f16|i1"
_RELEASE = r"preview|pt|v\d+(\.\d+)?|\d{4}|\d{6}"  # v0.3, 2407, 202606
_OPTIONAL = re.compile(f"{_TRAINING}|{_STORAGE}|{_RELEASE}")
_PACKING = re.compile(
    # What a file name adds to a model's: "-Q4_K_M", ".q4_k_m", "-UD-Q4_K_XL", "-QAT-Q4_0", "-GGUF".
    r"([-_.:](ud|qat|gguf|i1|bf16|f16|f32|mxfp4(_moe)?|i?q\d+(_\d|_k|_k_(s|m|l|xl)|_(xxs|xs|s|m|nl|xl))?))+$",
    re.IGNORECASE,
)
_STORED = re.compile(_STORAGE)
_TRAINED = re.compile(f"{_TRAINING}|{_STORAGE}")


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


def shortened(name: str, optional: re.Pattern[str] = _OPTIONAL) -> dict[str, int]:
    """Each spelling of a name with optional parts left out -> how many were; the full spelling comes first."""
    name_parts = parts(name)
    # The first part names the family: never left out, but for "Meta-Llama".
    droppable = [i for i, part in enumerate(name_parts) if (i or part == "meta") and optional.fullmatch(part)]
    spellings: dict[str, int] = {}
    for count in range(min(len(droppable), 4) + 1):
        for left_out in itertools.combinations(droppable, count):
            spelling = join(part for i, part in enumerate(name_parts) if i not in left_out)
            if spelling:
                spellings.setdefault(spelling, count)
    return spellings


class NameTable(Generic[Named]):
    """Which things a name may mean."""

    def __init__(self) -> None:
        self._exact: dict[str, Named] = {}
        self._loose: dict[str, list[tuple[int, Named]]] = {}
        self._labels: dict[str, str] = {}

    def add(self, thing: Named, label: str, others: Iterable[str]) -> None:
        """Register a thing under its label, which is shown, and other names.

        The earliest thing keeps a name that two claim in full.
        """
        for name in (label, *others):
            self._exact.setdefault(name.lower(), thing)
            self._labels.setdefault(canonical(name), label)
            for spelling, count in shortened(name).items():
                self._loose.setdefault(spelling, []).append((count, thing))

    def candidates(self, text: str) -> list[Named]:
        """What `text` may mean, equally likely all; empty when nothing fits."""
        text = text.strip()
        exact = self._exact.get(text.lower())
        if exact is not None:
            return [exact]
        organisation, _, rest = text.partition("_")
        spelled = [text, _PACKING.sub("", text)]
        if organisation and rest:
            spelled += [rest, _PACKING.sub("", rest)]
        for each in dict.fromkeys(spelled):
            for spelling in shortened(each, _STORED):
                if found := self._fewest(spelling):
                    return found
        # "Qwen3-1.7B-Instruct" is Qwen3-1.7B, which has no other name; but "glm-4-9b-chat" is not GLM-4-9B-0414.
        for each in dict.fromkeys(spelled):
            for spelling in shortened(each, _TRAINED):
                if found := self._fewest(spelling, at_most=0):
                    return found
        return []

    def _fewest(self, spelling: str, at_most: int = 9) -> list[Named]:
        """The things whose names need the fewest parts left out to be spelled so."""
        found = self._loose.get(spelling, [])
        fewest = min((count for count, _ in found), default=0)
        if fewest > at_most:
            return []
        return list({id(thing): thing for count, thing in found if count == fewest}.values())

    def nearest(self, text: str, n: int = 5) -> tuple[str, ...]:
        """Labels of things with a name like `text`, most alike first."""
        import difflib

        spelling = canonical(text)
        # A family's name alone ("gemma-3") is best answered with its models.
        near = [known for known in self._labels if len(spelling) > 2 and known.startswith(spelling)]
        near += difflib.get_close_matches(spelling, self._labels, n=3 * n, cutoff=0.5)
        near += [known for known in self._labels if len(spelling) > 2 and spelling in known]
        return tuple(dict.fromkeys(self._labels[known] for known in near))[:n]
