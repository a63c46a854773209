"""What `slm-advisor export --json` prints."""

from __future__ import annotations

import msgspec

from advisor.export import Export


class ExportDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The files for each program that was asked for, with their contents."""

    deployment: str
    exports: tuple[Export, ...]
