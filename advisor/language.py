"""The language that sentences for people are in: English as the source has it, or a gettext catalog's.

    from advisor.language import _
    _("takes {memory} at most").format(memory=...)

Nothing is translated until somebody calls `use`, and only the wizard does: what the command line prints, JSON above
all, is the same in every locale. Catalogs are compiled into `locale/` by `make locale`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gettext import NullTranslations

DOMAIN = "slm-advisor"
FOLDER = Path(__file__).with_name("locale")
LANGUAGES = {"en": "English", "ja": "日本語"}
"""By code, in their own words: somebody who cannot read the present language must find theirs."""

_catalog: NullTranslations | None = None
_current = "en"


def use(language: str) -> None:
    """From now on `_` answers in this language (a key of LANGUAGES).

    Raises ValueError for another one, FileNotFoundError where its catalog is missing from the installation.
    """
    global _catalog, _current
    if language not in LANGUAGES:
        raise ValueError(f"there is no language {language!r}; there are {', '.join(LANGUAGES)}")
    if language == "en":
        _catalog = None
    else:
        from gettext import translation

        _catalog = translation(DOMAIN, FOLDER, [language])
    _current = language


def current() -> str:
    """The code of the language in use."""
    return _current


def preferred(environment: Mapping[str, str] = os.environ) -> str:
    """The first language of the locale that there is a catalog of, else English.

    The variables count in gettext's order; LANGUAGE may list several ("ja:en").
    """
    named = [
        word
        for variable in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")
        for word in environment.get(variable, "").split(":")
        if word
    ]
    codes = [word.partition(".")[0].partition("_")[0].lower() for word in named]
    known = {code: code for code in LANGUAGES} | {"c": "en", "posix": "en"}
    return next((known[code] for code in codes if code in known), "en")


def _(message: str) -> str:
    """The message in the language in use."""
    return message if _catalog is None or not message else _catalog.gettext(message)


def plural(one: str, many: str, number: float) -> str:
    """The message for that number of things, in the language in use."""
    if _catalog is None:
        return one if number == 1 else many
    return _catalog.ngettext(one, many, int(number))


def marked(message: str) -> str:
    """The message as it is, marked for the catalog: `_` is called where it is shown."""
    return message
