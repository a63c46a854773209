"""Reading a policy file (TOML) strictly: every message names the file and the key, and offers what was meant."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import msgspec

from advisor.errors import AdvisorError, InvalidInputError
from advisor.policy import Policy, PolicyException, Rule
from profiles.files import read_at_most
from quantize.errors import QuantizeError
from quantize.types import parse_preset

if TYPE_CHECKING:
    from advisor.catalog import Model

VERSION = 1
MAX_BYTES = 1 << 20


def load_policy(path: str | Path) -> Policy:
    """The policy in a file; its `weight_folders` are made absolute, relative to the file.

    Raises InvalidInputError, with the file and the key, for anything that is not understood: a rule that is passed
    over would allow what it forbids.
    """
    path = Path(path)
    try:
        content = read_at_most(path, MAX_BYTES)
    except OSError as error:
        raise InvalidInputError(f"{path}: {error.strerror or error}") from error
    try:
        fields = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(f"{path}: not TOML: {error}") from error
    version = fields.get("version")
    if version != VERSION or isinstance(version, (bool, float)):
        said = "is missing" if version is None else f"{version!r} is not known here"
        raise InvalidInputError(f"{path}: version: {said}; this program reads 'version = {VERSION}'")
    try:
        policy = msgspec.convert(fields, Policy, strict=True)
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"{path}: {_reworded(str(error))}") from error
    _check(policy, path)
    if policy.weight_folders is not None:
        folders = tuple(str(path.absolute().parent / Path(f).expanduser()) for f in policy.weight_folders)
        policy = msgspec.structs.replace(policy, weight_folders=folders)
    return policy


def check_names(policy: Policy, models: tuple[Model, ...], path: str | Path) -> None:
    """Refuse licences and families that no model has: typing errors, which would rule out more than was meant.

    Raises InvalidInputError with the file, the key and what there is.
    """
    from advisor.licenses import check_licenses
    from advisor.recommend import check_families

    try:
        key = "licenses"
        check_licenses(policy.licenses or (), models)
        key = "families"
        check_families(policy.families or (), models)
    except AdvisorError as error:
        raise InvalidInputError(f"{path}: {key}: {error}") from error


def _check(policy: Policy, path: Path) -> None:
    """What the types do not say."""
    for number, name in enumerate(policy.quantizations or ()):
        try:
            parse_preset(name)
        except QuantizeError as error:
            raise InvalidInputError(f"{path}: quantizations[{number}]: {error}") from error
    low, high = policy.min_parameters, policy.max_parameters
    if low is not None and high is not None and low > high:
        raise InvalidInputError(f"{path}: min_parameters: {low} is more than max_parameters ({high})")
    if policy.weight_folders is not None and not policy.offline_only:
        raise InvalidInputError(f"{path}: weight_folders: they count only with 'offline_only = true'")


def _reworded(message: str) -> str:
    """msgspec's message with the key first, and with what was meant."""
    text, _, where = message.partition(" - at `$")
    key = where.rstrip("`").lstrip(".")
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", text)
    if unknown:
        struct = PolicyException if key.startswith("exceptions") else Policy
        near = difflib.get_close_matches(unknown[1], struct.__struct_fields__, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(struct.__struct_fields__)}"
        return f"{key}{'.' if key else ''}{unknown[1]}: there is no such key; {hint}"
    wrong = re.fullmatch(r"Invalid enum value '(.*)'", text)
    if wrong:
        rules = get_args(Rule)
        near = difflib.get_close_matches(wrong[1], rules, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(rules)}"
        return f"{key}: there is no rule '{wrong[1]}'; {hint}"
    text = text.replace("Object", "the table").replace("`", "'").replace(" | null", "")
    return f"{key or 'the policy'}: {text[:1].lower()}{text[1:]}"
