"""Sentences that are made where no language is known, in the language in use.

`profiles` and `quantize` may not import `advisor.language`, and much of the core speaks through errors and notes that
scripts read in English. The wizard shows them too: `translated` finds which sentence a text was made from, and makes
it again from the translation, with the same values, which may be sentences themselves. The modules of this package
list the sentences by subject; a test holds the lists against the source.
"""

from __future__ import annotations

import functools
import itertools
import re
import string
from collections.abc import Iterator
from typing import NamedTuple

from advisor.language import _, current

_ENOUGH = 4
"""Letters of its own that make a sentence particular enough for values of several words."""

_JOINTS = re.compile("; |: ")
_MOST_JOINTS = 4  # of a text whose parts are looked for: what has more is no message of ours

_NEXT = re.compile(r"[,;:.]| \(| on ")
"""What a value begins with that follows another without a word between them."""

_NAMES = re.compile(r"[^\s,]+(?:(?:,| or|, or| and) [^\s,]+)+")
"""Values in a row, each one word: the marks between them are in another language others."""


class _Reading(NamedTuple):
    """A text in the language in use, and how many letters of it were sentences."""

    letters: int
    text: str


def translated(text: str) -> str:
    """The text in the language in use, as it is where that is English or no sentence is known that it was made from."""
    if current() == "en" or not text:
        return text
    return "\n".join(_line(current(), line) for line in text.split("\n"))


@functools.lru_cache(maxsize=1024)
def _line(_language: str, text: str) -> str:
    """Remembered, since the same is painted again and again."""
    return _Reader(text).read(text).text


class _Reader:
    """Reads a text and its parts, which can be made from no other sentences than those whose words it has."""

    def __init__(self, text: str) -> None:
        self._sentences = [sentence for longest, sentence in _lists().with_values if longest in text]
        self._readings: dict[str, _Reading] = {}

    def read(self, text: str) -> _Reading:
        """The reading that leaves the least of the text unknown; the space around it stays."""
        bare = text.strip()
        if bare not in self._readings:
            if bare in _lists().plain:
                best = _Reading(len(bare), _(bare))
            else:
                readings = itertools.chain(self._as_a_sentence(bare), self._in_parts(bare))
                best = max(readings, key=lambda reading: reading.letters, default=_Reading(0, bare))
            self._readings[bare] = best
        best = self._readings[bare]
        return _Reading(best.letters, text.replace(bare, best.text) if bare else text)

    def _as_a_sentence(self, text: str) -> Iterator[_Reading]:
        for sentence in self._sentences:
            form = _form(sentence)
            for values in form.values(text):
                for one, other in form.pairs:
                    values[one], values[other] = self._parted(values[one])
                readings = {name: self._value(value) for name, value in values.items()}
                yield _Reading(
                    form.letters + sum(reading.letters for reading in readings.values()),
                    _(sentence).format(**{name: reading.text for name, reading in readings.items()}),
                )

    def _in_parts(self, text: str) -> Iterator[_Reading]:
        """Of sentences in a row, or after a name."""
        for joint in itertools.islice(_JOINTS.finditer(text), _MOST_JOINTS):
            head, tail = self.read(text[: joint.start()]), self.read(text[joint.end() :])
            if head.letters or tail.letters:
                yield _Reading(head.letters + tail.letters, head.text + joint[0] + tail.text)

    def _value(self, text: str) -> _Reading:
        if _NAMES.fullmatch(text):
            return _Reading(0, _(", ").join(re.split(r"(?:,| or|, or| and) ", text)))
        return self.read(text)

    def _parted(self, text: str) -> tuple[str, str]:
        """Two values without a word between them: the first ends where the most is known, else at the first mark."""
        ends = [match.start() for match in _NEXT.finditer(text)] + [len(text)]
        end = max(ends, key=lambda end: self.read(text[:end]).letters + self.read(text[end:]).letters)
        return text[:end], text[end:]


class _Form(NamedTuple):
    """What a sentence looks like with values in it: short ones, or long ones.

    Two values that follow each other at once look like one, the first of a pair.
    """

    letters: int
    short: re.Pattern[str]
    long: re.Pattern[str]
    pairs: tuple[tuple[str, str], ...]

    def values(self, text: str) -> Iterator[dict[str, str]]:
        """The values with which the sentence makes the text."""
        short = self.short.fullmatch(text)
        if short is None:
            return
        yield short.groupdict()
        long = self.long.fullmatch(text)
        if long is not None and long.groups() != short.groups():
            yield long.groupdict()


@functools.cache
def _form(sentence: str) -> _Form:
    """A sentence with hardly a letter of its own ("{name} of {repository}") takes values of one word only."""
    pieces = list(string.Formatter().parse(sentence))
    letters = sum(each.isalpha() for words, *_rest in pieces for each in words)
    value = "." if letters >= _ENOUGH else r"\S"
    pairs: list[tuple[str, str]] = []
    forms = {"*?": "", "*": ""}
    last: str | None = None
    for words, name, *_rest in pieces:
        follows = name is not None and last is not None and not words
        for many in forms:
            forms[many] += re.escape(words)
            if name is not None and not follows:
                forms[many] += f"(?P<{name}>{value}{many})"
        if follows and name is not None and last is not None:
            pairs.append((last, name))
        last = name
    return _Form(letters, re.compile(forms["*?"]), re.compile(forms["*"]), tuple(pairs))


class _Lists(NamedTuple):
    plain: frozenset[str]
    with_values: tuple[tuple[str, str], ...]
    """Each after the longest of its words between values."""


@functools.cache
def _lists() -> _Lists:
    sentences = all_sentences()
    plain = frozenset(sentence for sentence in sentences if "{" not in sentence)
    return _Lists(
        plain,
        tuple(
            (max((words for words, *_rest in string.Formatter().parse(sentence)), key=len), sentence)
            for sentence in sentences
            if sentence not in plain
        ),
    )


def all_sentences() -> tuple[str, ...]:
    """Every sentence of the lists."""
    import importlib
    import pkgutil

    return tuple(
        sentence
        for module in pkgutil.iter_modules(__path__)
        for sentence in importlib.import_module(f"{__name__}.{module.name}").SENTENCES
    )
