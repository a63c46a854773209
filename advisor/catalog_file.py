"""A family's TOML file: its form, reading it strictly, and writing it the same way every time.

    family = "Gemma 3"

    [sources]                      # key -> what it stands for, in full
    llmfit = "PyPI llmfit 1.1.17 ..."

    [[model]]                      # one a model; every field of `Entry`
    id = "google/gemma-3-1b-it"
    ...
    [model.architecture]           # the fields of quantize.architecture.Architecture
    [model.sources]                # fact -> key of [sources]
    [[model.scores]]               # one a harness, source and unit
    results = [{ benchmark = "OLLBv2/IFEval", value = 61.2, setting = "0-shot" }]

Reading gives either the file's content or every problem found, each with its line and field.
"""

from __future__ import annotations

import math
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from advisor.catalog import LicenseClass, Model, Task, Variant
from advisor.errors import InvalidInputError
from advisor.toml_text import key_lines, write_toml
from quantize.architecture import Architecture, active_parameter_count, parameter_count, tensors
from quantize.errors import QuantizeError

Count = Annotated[int, msgspec.Meta(ge=1, le=10**13)]
Text = Annotated[str, msgspec.Meta(min_length=1)]
HubId = Annotated[str, msgspec.Meta(pattern=r"^[\w.\-]+/[\w.\-]+$")]
Date = Annotated[str, msgspec.Meta(pattern=r"^\d{4}(-\d{2}(-\d{2})?)?$")]
Language = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2,3}$")]


class Result(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One published score."""

    benchmark: Text
    value: float
    setting: str = ""


class Scores(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Scores of one model from one source, in one unit. A result without a setting has the group's."""

    harness: Text
    source: Text
    unit: Text
    uniform: Literal["yes", "no", "within table"]
    """Whether the harness ran many models the same way."""
    date: str = ""
    setting: str = ""
    note: str = ""
    results: tuple[Result, ...]


class EntryVariant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Sizes written into a user's own file; the shipped families get theirs from the index."""

    quant: Text
    tensor_bytes: Count
    file_bytes: Count
    bits_per_weight: Annotated[float, msgspec.Meta(gt=0, le=64)]
    bytes_by_type: dict[str, Count]
    read_bytes_by_type: dict[str, Count]
    embedding_bytes: Annotated[int, msgspec.Meta(ge=0)]
    output_bytes: Annotated[int, msgspec.Meta(ge=0)]
    layer_bytes: Annotated[int, msgspec.Meta(ge=0)]
    needs_imatrix: bool = False
    exact: bool = True


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A model as its family's file states it. The meaning of the fields is that of `advisor.catalog.Model`."""

    id: HubId
    name: Text
    parameters: Count
    parameters_check: Literal["exact", "within 0.5%", "unverified"]
    """How the architecture's tensors compare with the published parameter count."""
    aliases: tuple[Text, ...] = ()
    parameters_note: str = ""
    unsupported: Text | None = None
    license: Text | None = None
    license_class: LicenseClass | None = None
    gated: bool | None = None
    languages: tuple[Language, ...] | None = None
    languages_note: str = ""
    context_length: Count | None = None
    context_note: str = ""
    release_date: Date | None = None
    modality: Text = "text"
    tasks: tuple[Task, ...] = ()
    weights: Text | None = None
    gguf_repos: tuple[HubId, ...] = ()
    ollama: Text | None = None
    unverified: tuple[Text, ...] = ()
    """Facts that no source confirms."""
    notes: tuple[Text, ...] = ()
    architecture: Architecture | None = None
    sources: dict[str, str] = {}
    scores: tuple[Scores, ...] = ()
    variants: tuple[EntryVariant, ...] = ()

    @property
    def verified(self) -> bool:
        """The dimensions are confirmed by the published parameter count."""
        return self.architecture is not None and self.parameters_check != "unverified"


class Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One file."""

    family: Text
    sources: dict[str, Text] = {}
    model: tuple[Entry, ...] = ()


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something wrong in a file; `line` is None where it could not be told."""

    file: str
    line: int | None
    field: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line is not None else self.file
        return f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"


def read_family(path: Path) -> Family:
    """The content of a file. Raises InvalidInputError that names line and field of the first problem."""
    family, problems = check_file(path)
    if family is None or problems:
        more = (
            f" (and {len(problems) - 1} more; see 'slm-advisor catalog check')" if len(problems) > 1 else ""
        )
        raise InvalidInputError(f"{problems[0]}{more}")
    return family


def model_of(entry: Entry, family: str) -> Model:
    """The catalog's model of an entry."""
    arch = entry.architecture
    active = active_parameter_count(arch) if arch is not None and arch.moe is not None else None
    return Model(
        id=entry.id,
        name=entry.name,
        family=family,
        parameters=entry.parameters,
        verified=entry.verified,
        modality=entry.modality,
        aliases=entry.aliases,
        parameters_active=active,
        architecture=arch,
        unsupported=entry.unsupported,
        license=entry.license,
        license_class=entry.license_class,
        gated=entry.gated,
        languages=entry.languages,
        context_length=entry.context_length,
        release_date=entry.release_date,
        tasks=entry.tasks,
        weights=entry.weights,
        gguf_repos=entry.gguf_repos,
        ollama=entry.ollama,
        notes=tuple(
            note
            for note in (entry.parameters_note, entry.context_note, entry.languages_note, *entry.notes)
            if note
        ),
        sources=entry.sources,
        variants=tuple(Variant(**msgspec.structs.asdict(variant)) for variant in entry.variants),
    )


def write_family(family: Family, comment: str = "") -> str:
    """The text of a family's file: fields in the order of the structs, what is unset left out."""
    return write_toml(msgspec.to_builtins(family), comment)


def check_file(path: Path) -> tuple[Family | None, list[Problem]]:
    """A file's content, and all that is wrong with it; the content is None when nothing could be read."""
    name = str(path)
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        return None, [Problem(name, None, "", f"cannot be read: {error.strerror or error}")]
    except UnicodeDecodeError as error:
        return None, [Problem(name, None, "", f"is not UTF-8 (byte {error.start})")]
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return None, [_syntax_problem(name, text, error)]
    lines = key_lines(text)
    problems: list[Problem] = []

    def report(where: tuple[str | int, ...], field: str, message: str) -> None:
        problems.append(Problem(name, _line(lines, where), field, message))

    entries = document.pop("model", [])
    family = _convert(document, Family, (), report)
    if not isinstance(entries, list):
        report(("model",), "model", "expected tables [[model]]")
        return None, problems
    models = [_convert(entry, Entry, ("model", i), report) for i, entry in enumerate(entries)]
    read = Family(
        family.family if family else name,
        family.sources if family else {},
        tuple(model for model in models if model is not None),
    )
    if not problems:
        for where, field, message in _inconsistencies(read):
            report(where, field, message)
    return read, problems


def _convert(data: Any, kind: type[Any], where: tuple[str | int, ...], report: Any) -> Any:
    try:
        converted = msgspec.convert(data, kind)
        if isinstance(converted, Entry) and converted.architecture is not None:
            _check_architecture(data["architecture"], Architecture, (*where, "architecture"), report)
            tensors(converted.architecture)
        return converted
    except QuantizeError as error:
        report((*where, "architecture"), "architecture", str(error))
        return None
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        steps = _steps(path.rstrip("`"))
        if message.startswith(("Object contains unknown field", "Object missing required field")):
            key = message.split("`")[1]
            known = getattr(kind, "__struct_fields__", ()) if not steps else ()
            message = _unknown(key, known) if "unknown" in message else "this field is required and missing"
            steps = (*steps, key)
        report(where + steps, _dotted(steps), message[0].lower() + message[1:].replace("`", "'"))
        return None


def _check_architecture(data: Any, kind: type[Any], where: tuple[str | int, ...], report: Any) -> None:
    """Report keys that the struct `kind` lacks: a misspelt dimension must not become a default."""
    for key, value in data.items():
        if key not in kind.__struct_fields__:
            report((*where, key), f"{where[-1]}.{key}", _unknown(key, kind.__struct_fields__))
        elif isinstance(value, dict):
            group = next(
                part for part in typing.get_args(typing.get_type_hints(kind)[key]) if part is not type(None)
            )
            _check_architecture(value, group, (*where, key), report)


def _unknown(key: str, known: tuple[str, ...]) -> str:
    import difflib

    near = difflib.get_close_matches(key, known, n=1)
    return "unknown field" + (f"; did you mean '{near[0]}'?" if near else "")


def _inconsistencies(family: Family) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """What the types alone do not forbid."""
    seen: dict[str, int] = {}
    for i, entry in enumerate(family.model):
        where: tuple[str | int, ...] = ("model", i)
        for field in ("id", "name"):
            value = getattr(entry, field).lower()
            if seen.setdefault(f"{field}:{value}", i) != i:
                yield (*where, field), field, f"'{value}' is used twice in this file"
        for fact, key in entry.sources.items():
            if key not in family.sources:
                yield (*where, "sources", fact), f"sources.{fact}", f"source '{key}' is not in [sources]"
        for j, group in enumerate(entry.scores):
            if group.source not in family.sources:
                where_score = (*where, "scores", j, "source")
                yield where_score, f"scores[{j}].source", f"source '{group.source}' is not in [sources]"
        if (entry.license is None) != (entry.license_class is None):
            yield (
                (*where, "license"),
                "license",
                "license and license_class go together: give both or neither",
            )
        if entry.architecture is None and entry.unsupported is None:
            message = "missing; without dimensions say why in 'unsupported'"
            yield (*where, "architecture"), "architecture", message
        elif entry.architecture is not None:
            counted = parameter_count(entry.architecture)
            allowed = {"exact": 0.0, "within 0.5%": 0.005, "unverified": math.inf}[entry.parameters_check]
            if abs(counted - entry.parameters) > allowed * entry.parameters:
                message = f"{entry.parameters:,}, but the architecture's tensors add up to {counted:,}"
                yield (*where, "parameters"), "parameters", message


def _line(lines: dict[tuple[str | int, ...], int], where: tuple[str | int, ...]) -> int | None:
    """The line of the nearest table or key that the file has on the way to `where`."""
    for end in range(len(where), 0, -1):
        if where[:end] in lines:
            return lines[where[:end]]
    return 1


def _steps(path: str) -> tuple[str | int, ...]:
    """msgspec's "$.scores[0].value" as ("scores", 0, "value")."""
    steps: list[str | int] = []
    for piece in path.replace("[", ".[").split(".")[1:]:
        if piece.startswith("["):
            steps.append(int(piece[1:-1]) if piece[1:-1].isdigit() else "")
        elif piece:
            steps.append(piece)
    return tuple(step for step in steps if step != "")


def _dotted(steps: tuple[str | int, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")


def _syntax_problem(name: str, text: str, error: Exception) -> Problem:
    """tomllib says "... (at line 3, column 7)" or "(at end of document)"."""
    message, _, place = str(error).partition(" (at line ")
    line = int(place.split(",")[0]) if place else text.count("\n") + 1
    return Problem(name, line, "", f"not valid TOML: {message or 'nested too deep'}")
