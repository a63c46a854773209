"""`slm-advisor ledger`: predictions beside what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from advisor.cli.options import json_option
from advisor.cli.output import write_json, write_text

if TYPE_CHECKING:
    from advisor.catalog import Catalog
    from advisor.measurements import Measurement


@click.command(
    epilog="Examples:  slm-advisor ledger\n\n"
    "slm-advisor ledger --model Qwen2.5-1.5B-Instruct:Q4_K_M --csv > ledger.csv"
)
@click.option("--model", metavar="MODEL[:QUANT]", help="Only this model: a name of the catalog or of a file.")
@click.option("--all-devices", is_flag=True, help="What was kept on every device that shares this home.")
@click.option("--csv", "as_csv", is_flag=True, help="One line a result on stdout.")
@json_option
def ledger(model: str | None, all_devices: bool, as_csv: bool, as_json: bool) -> None:
    """Show each prediction beside what `bench` and `probe` measured, and how far the estimates can be trusted here."""
    if as_csv and as_json:
        raise click.UsageError("give --csv or --json, not both", click.get_current_context())
    from advisor.catalog import load_catalog
    from advisor.ledger import make_ledger
    from advisor.measurements import all_stores, read_store
    from advisor.report.ledger_documents import LedgerDocument
    from profiles.detect import detect
    from profiles.fingerprint import fingerprint

    catalog = load_catalog()
    device = None if all_devices else fingerprint(detect())
    stores = all_stores() if device is None else (read_store(device),)
    found = [each for store in stores for each in store.measurements]
    if model is not None:
        found = _only(model, found, catalog)
    names = {entry.id: entry.name for entry in catalog.models}

    def name_of(each: Measurement) -> str:
        if each.model is None:
            # Spelled out later, control characters would be wider than the column was laid out for.
            return "".join(c if c.isprintable() else "?" for c in each.file or "unknown model")
        return f"{names.get(each.model, each.model)}:{each.quant}"

    made = make_ledger(sorted(found, key=lambda each: each.at) if all_devices else found, name_of)
    document = LedgerDocument(
        device=device,
        rows=made.rows,
        grades=made.grades,
        classes=made.classes,
        verdict=made.verdict,
        advice=made.advice,
        notes=tuple(
            f"{store.damaged} damaged line{'s' if store.damaged > 1 else ''} in {store.path} left out"
            for store in stores
            if store.damaged
        ),
    )
    if as_json:
        write_json("ledger", document)
        return
    from advisor.report.ledger_text import ledger_csv, ledger_text

    write_text(ledger_csv(document) if as_csv else ledger_text(document))


def _only(text: str, found: list[Measurement], catalog: Catalog) -> list[Measurement]:
    """The results of one model: of the catalog's, by whatever spelling, or of a file whose name holds the text.

    Raises UnknownModelError where it is neither.
    """
    from advisor.cli.options import split_model
    from advisor.errors import UnknownModelError

    of_file = [each for each in found if each.file and text.lower() in each.file.lower()]
    try:
        model, quant = split_model(text)
    except UnknownModelError:
        if not of_file:
            raise
        return of_file
    same = {entry.id for entry in catalog.models if entry.architecture == model.architecture} | {model.id}
    return [each for each in found if each.model in same and quant in (None, each.quant)] or of_file
