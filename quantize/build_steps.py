"""What every way to build has in common: stages that are told and timed, the source, the licence, the manifest."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from quantize.fidelity import Fidelity
from quantize.manifest import FileNote, Manifest, ModelNote, RecipeNote, SourceNote
from quantize.sources.fetch import fetch
from quantize.sources.source import Fetched, FetchProgress, Source

Stage = Literal[
    "source", "converter", "convert", "imatrix", "quantize", "check", "fidelity", "bench", "copy", "done"
]
Unit = Literal["bytes", "chunks", "layers"]

_LICENSE = re.compile(r"(licen[cs]e|notice|use[_-]policy)", re.IGNORECASE)


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a build is. `done` of `total` in `unit`; total None where that is not known."""

    stage: Stage
    done: int = 0
    total: int | None = None
    unit: Unit = "bytes"
    seconds: float = 0.0  # of this stage so far
    note: str = ""


Report = Callable[[Progress], None]


class Steps:
    """One build under way. `folder` becomes the target; `temporary`, in it, goes before that."""

    def __init__(self, folder: Path, report: Report) -> None:
        self.folder = folder
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self._report = report
        self._started = time.monotonic()
        self._seconds: dict[str, float] = {}
        self._licenses: tuple[str, ...] = ()

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Tell that a stage begins, and note how long it took."""
        self._started = time.monotonic()
        self.tell(stage)
        yield
        self._seconds[stage] = round(time.monotonic() - self._started, 2)

    def tell(
        self, stage: Stage, done: int = 0, total: int | None = None, note: str = "", *, unit: Unit = "bytes"
    ) -> None:
        seconds = time.monotonic() - self._started
        self._report(Progress(stage=stage, done=done, total=total, unit=unit, seconds=seconds, note=note))

    def chunks(self, stage: Stage) -> Callable[[int, int, float], None]:
        """A progress function for what reads a text."""
        return lambda done, total, _: self.tell(stage, done, total, unit="chunks")

    def fetch(self, source: Source) -> Fetched:
        """Bring and check the weights, and copy their licence: whoever gets the one must get the other."""

        def show(now: FetchProgress) -> None:
            self.tell("source", now.done_bytes, now.total_bytes, now.note or f"{now.phase} {now.name}")

        with self.stage("source"):
            fetched = fetch(source, show)
        licenses = [file for file in fetched.files if _LICENSE.match(Path(file.name).name)]
        for file in licenses:
            shutil.copyfile(file.path, self.folder / Path(file.name).name)
        self._licenses = tuple(Path(file.name).name for file in licenses)
        return fetched

    def manifest(
        self,
        *,
        tool_version: str,
        model: ModelNote,
        variant: str,
        files: tuple[FileNote, ...],
        bytes_by_type: Mapping[str, int],
        elements: int,
        fetched: Fetched,
        recipe: RecipeNote,
        tools: dict[str, str],
        fidelity: Fidelity | None,
        bench: dict[str, Any] | None,
        notes: tuple[str, ...],
    ) -> Manifest:
        source = fetched.source
        by_size = sorted(bytes_by_type.items(), key=lambda item: -item[1])
        return Manifest(
            tool_version=tool_version,
            built_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            model=msgspec.structs.replace(model, license_files=self._licenses),
            variant=variant,
            files=files,
            bytes_by_type=dict(by_size),
            bits_per_weight=round(8 * sum(bytes_by_type.values()) / elements, 4),
            source=SourceNote(
                kind=source.kind,
                origin=source.origin,
                path=str(source.path) if source.path else None,
                repository=source.repository,
                revision=source.revision,
                endpoint=source.endpoint,
                precision=fetched.precision,
                license=source.license,
                files=tuple(FileNote(name=f.name, bytes=f.bytes, sha256=f.sha256) for f in fetched.files),
            ),
            recipe=recipe,
            tools=tools,
            fidelity=fidelity,
            bench=bench,
            seconds=self._seconds,
            notes=(*source.notes, *notes),
        )
