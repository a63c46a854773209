"""Which licences a user accepts: a class, or licences by name."""

from __future__ import annotations

from collections.abc import Iterable

from advisor.catalog import Model
from advisor.errors import InvalidInputError

CLASSES: dict[str, frozenset[str]] = {
    "permissive": frozenset({"permissive"}),
    "commercial": frozenset({"permissive", "conditional"}),
}
"""permissive: any use. commercial: also those that allow commercial use under conditions."""


def allows(model: Model, wanted: tuple[str, ...]) -> bool:
    """True if the model's licence is of a wanted class or is one of those named; unknown licences are not."""
    return allows_license(model.license, model.license_class, wanted)


def allows_license(name: str | None, class_: str | None, wanted: tuple[str, ...]) -> bool:
    """The same for a licence by its name and class."""
    if name is None:
        return False
    return any(class_ in CLASSES.get(word.lower(), ()) or word.lower() == name.lower() for word in wanted)


def check_licenses(wanted: tuple[str, ...], models: Iterable[Model]) -> None:
    """Refuse a licence that no model of the catalog has: most likely a typing error.

    Raises InvalidInputError with the classes and licences there are.
    """
    known = sorted({model.license for model in models if model.license})
    lowered = {name.lower() for name in known} | set(CLASSES)
    for word in wanted:
        if word.lower() not in lowered:
            raise InvalidInputError(
                f"license '{word}' is not in the catalog; choose {', '.join(CLASSES)} or one of {', '.join(known)}"
            )
