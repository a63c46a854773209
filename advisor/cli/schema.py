"""`slm-advisor schema`: the JSON Schema of every output, made from the structs that are printed."""

from __future__ import annotations

import importlib
from typing import Any

import click

from advisor.cli.output import SCHEMA_VERSION, write_text

# name -> (module, struct)
SCHEMAS: dict[str, tuple[str, str]] = {
    "recommendation": ("advisor.report.documents", "RecommendationDocument"),
    "explanation": ("advisor.report.documents", "ExplanationDocument"),
    "fleet": ("advisor.fleet.recommend_fleet", "FleetDocument"),
    "fleet-device": ("advisor.fleet.decide", "FleetDevice"),
    "fleet-verification": ("advisor.fleet.verify_fleet", "FleetVerification"),
    "fleet-verdict": ("advisor.fleet.verify_fleet", "FleetVerdict"),
    "estimate": ("advisor.report.documents", "EstimateDocument"),
    "estimate-row": ("advisor.estimate", "Row"),
    "estimate-line": ("advisor.estimate", "Line"),
    "estimate-error-line": ("advisor.estimate", "ErrorLine"),
    "bench": ("advisor.report.bench_documents", "BenchDocument"),
    "build": ("quantize.manifest", "Manifest"),
    "build-plan": ("advisor.report.build_report", "PlanDocument"),
    "deployment": ("advisor.manifest", "DeploymentManifest"),
    "export": ("advisor.report.export_documents", "ExportDocument"),
    "catalog-list": ("advisor.report.catalog_documents", "CatalogListDocument"),
    "catalog-model": ("advisor.report.catalog_documents", "CatalogModelDocument"),
    "catalog-check": ("advisor.report.catalog_documents", "CatalogCheckDocument"),
    "catalog-added": ("advisor.report.catalog_documents", "CatalogAddedDocument"),
    "calibration": ("advisor.report.calibration", "CalibrationDocument"),
    "doctor": ("advisor.report.doctor_documents", "DoctorDocument"),
    "fidelity": ("advisor.report.fidelity_report", "FidelityDocument"),
    "verification": ("advisor.verify", "Verification"),
    "probe": ("advisor.report.probe_documents", "ProbeDocument"),
    "ledger": ("advisor.report.ledger_documents", "LedgerDocument"),
    "policy": ("advisor.policy", "Policy"),
    "device": ("profiles.device", "Device"),
    "error": ("advisor.report.documents", "ErrorDocument"),
}
# What is printed or read without the envelope.
BARE = frozenset(
    {"fleet-device", "fleet-verdict", "estimate-row", "estimate-line", "estimate-error-line", "policy"}
)


@click.command(epilog="Example: slm-advisor schema recommendation > recommendation.schema.json")
@click.argument("name", type=click.Choice(list(SCHEMAS)))
def schema(name: str) -> None:
    """Print the JSON Schema (2020-12) of an output."""
    import msgspec

    write_text(msgspec.json.format(msgspec.json.encode(schema_of(name)), indent=2).decode() + "\n")


def schema_of(name: str) -> dict[str, Any]:
    """The JSON Schema of the document `name`, the envelope included."""
    import msgspec

    module, struct = SCHEMAS[name]
    (reference,), components = msgspec.json.schema_components(
        [getattr(importlib.import_module(module), struct)], ref_template="#/$defs/{name}"
    )
    top = components.pop(reference["$ref"].rsplit("/", 1)[1])
    if name not in BARE:
        text = {"type": "string"}
        envelope = {
            "schema": {"const": f"slm-advisor/{name}"},
            "schema_version": {"const": SCHEMA_VERSION},
            "tool_version": text,
            "catalog_version": text,
        }
        # A manifest has some of the envelope's fields itself, since it also lies beside its file.
        top["properties"] = {**envelope, **top["properties"], **envelope}
        top["required"] = list(dict.fromkeys([*envelope, *top.get("required", [])]))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        **top,
        "$defs": components,
    }
