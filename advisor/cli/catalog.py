"""`slm-advisor catalog`: the models there are, one model in full, checking a file, adding one's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from advisor.cli.options import json_option
from advisor.cli.output import write_json, write_text

if TYPE_CHECKING:
    from advisor.catalog import Model


@click.group(
    epilog="Examples:  slm-advisor catalog list --family qwen --max-params 4B --language ja\n\n"
    "slm-advisor catalog show gemma-3-4b-it\n\n"
    "slm-advisor catalog add model.gguf"
)
def catalog() -> None:
    """List, show, check and add models."""


@catalog.command(
    "list",
    epilog="Examples:  slm-advisor catalog list --max-params 2B --license permissive\n\n"
    "slm-advisor catalog list --task coding --runnable --json",
)
@click.option("--family", "families", multiple=True, metavar="NAME", help="qwen, 'Gemma 3', granite …")
@click.option("--min-params", metavar="N", help="At least so many parameters: 500M, 3B.")
@click.option("--max-params", metavar="N", help="At most so many parameters.")
@click.option(
    "--license",
    "licenses",
    multiple=True,
    metavar="L",
    help="permissive, commercial or a licence: apache-2.0.",
)
@click.option(
    "--language", "languages", multiple=True, metavar="CODE", help="Language it is made for: ja, de …"
)
@click.option("--task", metavar="TASK", help="chat, coding, reasoning, summarize, translate, extract …")
@click.option("--runnable", is_flag=True, help="Only models that llama.cpp runs.")
@json_option
def list_models(
    families: tuple[str, ...],
    min_params: str | None,
    max_params: str | None,
    licenses: tuple[str, ...],
    languages: tuple[str, ...],
    task: str | None,
    runnable: bool,
    as_json: bool,
) -> None:
    """List the models of the catalog; all filters given must hold."""
    from advisor.catalog import load_catalog
    from advisor.report.catalog_documents import CatalogListDocument, model_view

    models = _filtered(
        load_catalog().models,
        families=families,
        least=_parameters("min-params", min_params, 0),
        most=_parameters("max-params", max_params, 10**15),
        licenses=licenses,
        languages=languages,
        task=task,
    )
    rows = tuple(model_view(model) for model in models if model.runnable or not runnable)
    document = CatalogListDocument(count=len(rows), models=rows)
    if as_json:
        write_json("catalog-list", document)
    else:
        from advisor.report.catalog_text import list_text

        write_text(list_text(document))


@catalog.command(
    epilog="Examples:  slm-advisor catalog show qwen2.5:7b\n\nslm-advisor catalog show Pythia-1b --json"
)
@click.argument("model")
@json_option
def show(model: str, as_json: bool) -> None:
    """Show one model: its facts, where each is from, and its size at every quantization."""
    from advisor.catalog import load_catalog
    from advisor.report.catalog_documents import model_document

    known = load_catalog()
    document = model_document(known.find(model), known)
    if as_json:
        write_json("catalog-model", document)
    else:
        from advisor.report.catalog_text import model_text

        write_text(model_text(document))


@catalog.command(
    epilog="Examples:  slm-advisor catalog check\n\nslm-advisor catalog check my-models.toml --json"
)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@json_option
def check(files: tuple[Path, ...], as_json: bool) -> int:
    """Check catalog files: every problem with its line and field. Exit code 2 when there are any.

    Without FILES: the shipped ones and your own.
    """
    from advisor.catalog import CATALOG_FOLDER
    from advisor.catalog_check import Problem, check_file
    from advisor.report.catalog_documents import CatalogCheckDocument
    from advisor.user_catalog import user_files

    chosen = list(files) or [*sorted(CATALOG_FOLDER.glob("*.toml")), *user_files()]
    problems: list[Problem] = []
    models = 0
    for path in chosen:
        family, found = check_file(path)
        models += len(family.model) if family else 0
        problems += found
    document = CatalogCheckDocument(
        files=tuple(str(path) for path in chosen), models=models, problems=tuple(problems)
    )
    if as_json:
        write_json("catalog-check", document)
    else:
        from advisor.report.catalog_text import check_text

        write_text(check_text(document))
    return 2 if problems else 0


@catalog.command(
    epilog="Examples:  slm-advisor catalog add ~/models/my-model.Q4_K_M.gguf\n\n"
    "slm-advisor catalog add ./my-finetune --name my-finetune"
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", help="Name in the catalog; without it, the file's own.")
@json_option
def add(path: Path, name: str | None, as_json: bool) -> None:
    """Add a local model to your own catalog: a GGUF file, or a folder with a config.json.

    Only the header is read. An architecture that is not known here is refused.
    """
    from advisor.catalog import load_catalog
    from advisor.catalog_add import add_model
    from advisor.report.catalog_documents import CatalogAddedDocument, model_document

    written, model_id = add_model(path, name)
    load_catalog.cache_clear()
    known = load_catalog()
    document = CatalogAddedDocument(file=str(written), model=model_document(known.find(model_id), known))
    if as_json:
        write_json("catalog-added", document)
    else:
        from advisor.report.catalog_text import model_text

        write_text(model_text(document.model) + f"\nWritten to {written}\n")


def _filtered(
    models: tuple[Model, ...],
    *,
    families: tuple[str, ...],
    least: float,
    most: float,
    licenses: tuple[str, ...],
    languages: tuple[str, ...],
    task: str | None,
) -> list[Model]:
    from advisor.catalog import family_matches
    from advisor.errors import InvalidInputError
    from advisor.licenses import allows, check_licenses
    from advisor.workload import TASKS, parse_language

    if task is not None and task not in TASKS:
        raise InvalidInputError(f"task '{task}' is unknown; choose one of {', '.join(TASKS)}")
    check_licenses(licenses, models)
    known = sorted({model.family for model in models})
    for family in families:
        if not any(family_matches(name, (family,)) for name in known):
            raise InvalidInputError(f"family '{family}' is not in the catalog; choose of {', '.join(known)}")
    codes = {parse_language(language) for language in languages}
    return [
        model
        for model in models
        if least <= model.parameters <= most
        and (not families or family_matches(model.family, families))
        and (not licenses or allows(model, licenses))
        and codes <= set(model.languages or ())
        and (task is None or task in model.tasks)
    ]


def _parameters(option: str, text: str | None, default: float) -> float:
    """A number of parameters: "3B", "500M", "270000000"."""
    if text is None:
        return default
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmbt]?)", text.strip().lower())
    if match is None:
        from advisor.errors import InvalidInputError

        raise InvalidInputError(f"{option} '{text}' is no number of parameters; write it like 500M or 3B")
    return float(match[1]) * {"": 1, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}[match[2]]
