"""What `slm-advisor ledger --json` prints."""

from __future__ import annotations

import msgspec

from advisor.ledger import Group, Row, Verdict


class LedgerDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Predictions beside measurements, rows newest first; `notes` say what could not be read."""

    device: str | None  # fingerprint; null for all devices
    rows: tuple[Row, ...]
    grades: tuple[Group, ...]
    classes: tuple[Group, ...]
    verdict: Verdict
    advice: str
    notes: tuple[str, ...]
