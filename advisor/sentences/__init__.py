"""Sentences that are made where no language is known, in the language in use.

`profiles` and `quantize` may not import `advisor.language`, and much of the core speaks through errors and notes that
scripts read in English. The wizard shows them too: `translated` finds which sentence a text was made from, and makes
it again from the translation, with the same values, which may be sentences themselves. The modules of this package
list the sentences by subject; a test holds the lists against the source.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
import string

from advisor.language import _, current

_NAMES = re.compile(r"[^\s,]+(?:(?:,| or|, or| and) [^\s,]+)+")
"""Values in a row, each one word: the marks between them are in another language others."""

_LETTERS = 4
"""So many make a sentence particular enough for values of any words."""

_MARK = re.compile(r"[,;:.]| \(| on ")
"""What a value begins with that follows another without a word between them."""


def translated(text: str) -> str:
    """The text in the language in use, as it is where that is English or no sentence is known that it was made from."""
    language = current()
    return text if language == "en" or not text else _in(language, text)


@functools.lru_cache(maxsize=1024)
def _in(_language: str, text: str) -> str:
    """Remembered: the same texts are painted again and again."""
    return "\n".join(_words(line) for line in text.split("\n"))


def _words(text: str) -> str:
    """A line or a value, as far as it is known; the space around it stays."""
    bare = text.strip()
    found = (_found(bare) or _found_in_parts(bare)) if bare else None
    return text if found is None else text.replace(bare, found)


def _found(text: str) -> str | None:
    """A whole sentence, or several in a row."""
    if text in _lists().plain:
        return _(text)
    if "; " in text:
        parts = [_found(part) for part in text.split("; ")]
        known = [part for part in parts if part is not None]
        if len(known) == len(parts):
            return "; ".join(known)
    for sentence in _lists().candidates(text):
        if (values := _values(sentence, text)) is not None:
            return _(sentence).format(**{name: _value(value) for name, value in values.items()})
    return None


def _values(sentence: str, text: str) -> dict[str, str] | None:
    """The values with which the sentence makes the text; where there are several ways, such with whole brackets."""
    patterns, pairs = _patterns(sentence)
    found = [match.groupdict() for pattern in patterns if (match := pattern.fullmatch(text)) is not None]
    if not found:
        return None
    values = next((each for each in found if all(map(_has_whole_brackets, each.values()))), found[0])
    for one, next_ in pairs:
        values[one], values[next_] = _parted(values[one])
    return values


def _has_whole_brackets(text: str) -> bool:
    depth = 0
    for each in text:
        depth += {"(": 1, ")": -1}.get(each, 0)
        if depth < 0:
            return False
    return depth == 0


def _parted(text: str) -> tuple[str, str]:
    """Two values without a word between them: the first ends where it is a sentence, else at the first mark."""
    ends = [match.start() for match in _MARK.finditer(text)] + [len(text)]
    end = next((end for end in ends if _found(text[:end]) is not None), ends[0])
    return text[:end], text[end:]


def _found_in_parts(text: str) -> str | None:
    """A text that begins or ends with a sentence; None where neither is one."""
    for mark in ("; ", ": "):
        for match in re.finditer(mark, text):
            head, tail = text[: match.start()], text[match.end() :]
            if _found(head) is not None or _found(tail) is not None:
                return _words(head) + mark + _words(tail)
    return None


def _value(text: str) -> str:
    if _NAMES.fullmatch(text) and _found(text) is None:
        return _(", ").join(re.split(r"(?:,| or|, or| and) ", text))
    return _words(text)


class _Lists:
    """All sentences, so arranged that few are looked at for a text."""

    def __init__(self) -> None:
        sentences = all_sentences()
        self.plain = frozenset(sentence for sentence in sentences if "{" not in sentence)
        self._by_start: dict[
            str, list[tuple[int, str, str]]
        ] = {}  # by their first word: weight, longest words, sentence
        for sentence in set(sentences) - self.plain:
            pieces = [words for words, *_rest in string.Formatter().parse(sentence)]
            start, _, _ = pieces[0].partition(" ")
            weight = -sum(map(len, pieces))
            if not pieces[0].startswith(start + " "):
                start = ""
            self._by_start.setdefault(start, []).append((weight, max(pieces, key=len), sentence))

    def candidates(self, text: str) -> list[str]:
        """Sentences that may be the text's, the one with the most words of its own first: the most particular."""
        start = text.partition(" ")[0]
        found = [
            (weight, sentence)
            for first in {start, ""}
            for weight, longest, sentence in self._by_start.get(first, ())
            if longest in text
        ]
        return [sentence for _weight, sentence in sorted(found)]


@functools.cache
def _lists() -> _Lists:
    return _Lists()


def all_sentences() -> tuple[str, ...]:
    """Every sentence of the lists."""
    return tuple(
        sentence
        for module in pkgutil.iter_modules(__path__)
        for sentence in importlib.import_module(f"{__name__}.{module.name}").SENTENCES
    )


@functools.cache
def _patterns(sentence: str) -> tuple[tuple[re.Pattern[str], ...], tuple[tuple[str, str], ...]]:
    """What the sentence looks like with short values first, and with long ones; two that follow at once are one.

    With them, those pairs. A sentence with hardly a word of its own ("{name} of {repository}") takes values of one word
    only.
    """
    pieces = list(string.Formatter().parse(sentence))
    letters = sum(each.isalpha() for words, *_form in pieces for each in words)
    value = r"." if letters >= _LETTERS else r"\S"
    expression, pairs = "", []
    last: str | None = None
    for words, name, *_form in pieces:
        expression += re.escape(words)
        if name is not None and last is not None and not words:
            pairs.append((last, name))
        elif name is not None:
            expression += f"(?P<{name}>{value}*?)"
        last = name
    return (re.compile(expression), re.compile(expression.replace("*?)", "*)"))), tuple(pairs)
