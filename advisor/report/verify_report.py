"""A verification as text for people, as JUnit XML and as SARIF 2.1.0."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from advisor.evidence import Value
from advisor.report.console import render
from advisor.verify import Verification
from advisor.verify_checks import Check, shown

if TYPE_CHECKING:
    from rich.table import Table

_SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
# What XML 1.0 cannot hold, however it is written.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def verification_text(result: Verification) -> str:
    """80 columns, readable without colour."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    ran = "measured" if result.mode == "run" else "by estimate only: nothing was run"
    if result.rehearsal is not None:
        ran = f"rehearsed on this machine as {result.rehearsal.device}"
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("required", justify="right")
    table.add_column("found", justify="right")
    table.add_column("margin", justify="right", no_wrap=True)
    for check in result.checks:
        limited = check.relation is not None
        table.add_row(
            check.status.upper(),
            check.title,
            _required(check) if limited else "",
            _found(check) if limited else "",
            "" if check.margin is None else f"{check.margin:+.0%}",
        )
    parts: list[str | Table] = [
        f"{result.deployment or result.manifest}: {result.verdict.upper()} (exit code {result.exit_code})",
        ", ".join(text for text in (result.device, result.engine, ran) if text),
        "",
        table,
        "",
    ]
    parts += [f"{check.title}: {check.message}." for check in result.checks if check.message]
    parts += [f"Note: {note}." for note in notes_of(result)]
    return render(*parts)


def junit_text(result: Verification) -> str:
    """One test case a check, and the notes as output. Unknown is an error and no skipped test: a gate must not pass
    over it.
    """
    cases = result.checks
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(check.status == "fail" for check in cases)),
        "errors": str(sum(check.status == "unknown" for check in cases)),
    }
    root = ElementTree.Element("testsuites", {"name": "slm-advisor verify", **counts})
    suite = ElementTree.SubElement(
        root, "testsuite", {"name": _xml(result.deployment or result.manifest), **counts, "skipped": "0"}
    )
    for check in cases:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            {"classname": "slm-advisor.verify", "name": f"{check.id}: {check.title}", "time": "0"},
        )
        if check.status != "pass":
            kind = "failure" if check.status == "fail" else "error"
            text = _xml(sentence(check))
            ElementTree.SubElement(case, kind, {"type": check.status, "message": text}).text = text
    if notes := notes_of(result):
        ElementTree.SubElement(suite, "system-out").text = _xml("\n".join(notes))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def sarif_document(result: Verification, tool_version: str, manifest_lines: list[str]) -> dict[str, Any]:
    """A result for each check that failed ("fail") or could not be decided ("open"); what holds is no result.

    `manifest_lines` are the manifest's, so that a result points at the line that asks for it. Notes are the
    invocation's notifications.
    """
    rules = [{"id": check.id, "shortDescription": {"text": check.title}} for check in result.checks]
    results = [
        {
            "ruleId": check.id,
            "ruleIndex": index,
            "kind": "fail" if check.status == "fail" else "open",
            "level": "error" if check.status == "fail" else "none",
            "message": {"text": sentence(check)},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": _uri(result.manifest)},
                        "region": {"startLine": _line(check, manifest_lines)},
                    }
                }
            ],
        }
        for index, check in enumerate(result.checks)
        if check.status != "pass"
    ]
    driver = {"name": "slm-advisor", "version": tool_version, "rules": rules}
    notes = [{"level": "note", "message": {"text": note}} for note in notes_of(result)]
    invocation = {"executionSuccessful": True, "toolExecutionNotifications": notes}
    return {
        "$schema": _SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "invocations": [invocation], "results": results}],
    }


def notes_of(result: Verification) -> tuple[str, ...]:
    """The notes, and before them how it was rehearsed and what that does not show."""
    acted = result.rehearsal
    if acted is None:
        return result.notes
    limits = []
    if acted.memory_limit_bytes is not None:
        limits.append(f"under a memory limit of {shown(acted.memory_limit_bytes, 'bytes')} ({acted.method})")
    if acted.cores is not None:
        limits.append(f"on {acted.cores} core{'' if acted.cores == 1 else 's'}")
    limits.append(f"with {acted.threads} thread{'' if acted.threads == 1 else 's'}")
    return (
        f"rehearsed on this machine ({acted.here}) as {acted.device}: {', '.join(limits)}",
        f"not rehearsed: {'; '.join(acted.not_rehearsed)}",
        *result.notes,
    )


def sentence(check: Check) -> str:
    """What a check found, in one line: what is required, what was found, and why that is not enough."""
    parts = [check.title]
    if check.relation is not None:
        parts.append(f"required {_required(check)}, found {_found(check)}")
    return ": ".join([*parts, check.message] if check.message else parts)


def _required(check: Check) -> str:
    if isinstance(check.required, float):
        return f"{check.relation} {shown(check.required, check.unit)}"
    return check.required or ""


def _found(check: Check) -> str:
    found = check.found
    if isinstance(found, Value):
        value, low, high = (shown(number, check.unit) for number in (found.value, found.low, found.high))
        interval = "" if low == high else f" ({low} to {high})"
        return f"{value}{interval} {found.evidence}"
    return found or "unknown"


def _line(check: Check, lines: list[str]) -> int:
    wanted = f'"{check.requirement or "file"}":'
    return next((number for number, line in enumerate(lines, 1) if wanted in line), 1)


def _uri(path: str) -> str:
    from urllib.parse import quote

    return quote(path)


def _xml(text: str) -> str:
    return _NOT_XML.sub("?", text)
