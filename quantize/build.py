"""One build, from full-precision weights to a folder with the quantized file and the proof of what it is.

    with Engine() as engine:
        manifest = build(order, engine, report=print)

Everything is made in a folder beside the target (`quantize.workspace`) and takes its name at the end, in one step:
source, conversion where it is no GGUF, importance matrix, quantization, the check of every tensor, fidelity against
the source, the manifest. What decides the result is in the `Order`; nothing depends on the time or the place.
"""

from __future__ import annotations

import math
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from profiles.engine.client import Engine
from profiles.engine.protocol import MemoryQuestion
from profiles.throughput import require
from quantize.convert import convert, find_converter, install_converter
from quantize.errors import QuantizationError
from quantize.fidelity import Fidelity, measure_fidelity
from quantize.gguf import Expected, ExpectedTensor, Recipe, check_tensors, planned_types, quantize_gguf
from quantize.gguf_header import read_header
from quantize.hashes import sha256_of
from quantize.imatrix import Imatrix, collect_imatrix, read_imatrix
from quantize.manifest import (
    FileNote,
    ImatrixNote,
    Manifest,
    ModelNote,
    RecipeNote,
    SourceNote,
    write_manifest,
)
from quantize.sources.fetch import fetch
from quantize.sources.source import Fetched, FetchProgress, Source
from quantize.types import PRESETS
from quantize.workspace import workspace

Stage = Literal[
    "source", "converter", "convert", "imatrix", "quantize", "check", "fidelity", "bench", "copy", "done"
]
Unit = Literal["bytes", "chunks", "parts"]

IMATRIX_FILE = "imatrix.gguf"
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
Bench = Callable[[Path], dict[str, Any]]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be built, from what, and where to. Its fields decide the result.

    `expected` are the tensors of the catalog's variant. `imatrix` is a finished importance matrix,
    `calibration_text` one to collect it from; without both there is none. `fidelity_text` None measures nothing.
    """

    model: ModelNote
    variant: str
    target: Path
    source: Source
    recipe: Recipe
    expected: Expected
    imatrix: Path | None = None
    calibration_text: Path | None = None
    fidelity_text: Path | None = None
    threads: int | None = None
    replace: bool = False
    tool_version: str = ""

    @property
    def file_name(self) -> str:
        return f"{self.target.name}.gguf"

    @property
    def has_imatrix(self) -> bool:
        return self.imatrix is not None or self.calibration_text is not None

    @property
    def ready(self) -> bool:
        """The source is a published file of the variant: nothing is quantized here."""
        return self.source.preset is not None


def build(
    order: Order, engine: Engine, *, report: Report = lambda _: None, bench: Bench | None = None
) -> Manifest:
    """Build `order.target`, a folder with the file, its manifest and what belongs to them.

    Raises OccupiedError, SourceError and HubError, ConversionError, ImatrixError, QuantizationError,
    UnexpectedTensorsError where a tensor is not what the catalog says, NoRoomError, TooLittleMemoryError and
    EngineError; nothing has the target's name then.
    """
    with workspace(order.target, replace=order.replace) as work:
        manifest = _Build(order, engine, work.path, report).run(bench)
        write_manifest(manifest, work.path)
        work.publish()
    report(Progress(stage="done"))
    return manifest


class _Build:
    """The steps, and what they have found so far. `folder` becomes the target, `temporary` goes."""

    def __init__(self, order: Order, engine: Engine, folder: Path, report: Report) -> None:
        self._order = order
        self._engine = engine
        self._folder = folder
        self._temporary = folder / "temporary"
        self._file = folder / order.file_name
        self._report = report
        self._seconds: dict[str, float] = {}
        self._tools: dict[str, str] = {}
        self._notes: list[str] = []

    def run(self, bench: Bench | None) -> Manifest:
        self._temporary.mkdir()
        with self._stage("source"):
            fetched = fetch(
                self._order.source,
                lambda now: self._tell("source", now.done_bytes, now.total_bytes, now.note or now.name),
            )
        licenses = self._licenses(fetched)
        imatrix: ImatrixNote | None = None
        fidelity: Fidelity | None = None
        if self._order.ready:
            self._copy(fetched)
            self._check(self._order.expected)
        else:
            source = self._full_precision(fetched)
            matrix, imatrix = self._imatrix(source)
            expected = self._expected(source)
            self._quantize(source, matrix)
            self._check(expected)
            fidelity = self._fidelity(source)
        measured = self._bench(bench)
        shutil.rmtree(self._temporary)
        return self._manifest(fetched, licenses, imatrix, fidelity, measured)

    # --- the steps ------------------------------------------------------------------------------------------------

    def _full_precision(self, fetched: Fetched) -> Path:
        """The source as a GGUF with the model's tensors: as it is, or converted."""
        parts = [file.path for file in fetched.files if file.name.endswith(".gguf")]
        source = fetched.path
        if self._order.source.kind == "safetensors":
            converter = find_converter()
            if converter is None:
                with self._stage("converter"):
                    converter = install_converter(
                        lambda now: self._tell(
                            "converter", now.done_bytes, None, f"{now.phase} {now.what}".strip()
                        )
                    )
            source = self._temporary / "source.gguf"
            with self._stage("convert"):
                facts = convert(
                    fetched.path,
                    source,
                    converter=converter,
                    report=lambda now: self._tell("convert", now.done_bytes, now.total_bytes, now.phase),
                )
            self._tools |= facts.converter
            parts = [source]
        check_tensors(parts, self._order.expected, types=False)
        return source

    def _imatrix(self, source: Path) -> tuple[Imatrix | None, ImatrixNote | None]:
        order = self._order
        if order.imatrix is not None:
            matrix = read_imatrix(order.imatrix)
            shutil.copyfile(order.imatrix, self._folder / IMATRIX_FILE)
            return matrix, _imatrix_note(matrix, sha256_of(order.imatrix))
        if order.calibration_text is None:
            return None, None
        out = self._folder / IMATRIX_FILE
        with self._stage("imatrix"):
            facts = collect_imatrix(
                self._engine,
                source,
                order.calibration_text,
                out,
                threads=order.threads,
                progress=lambda done, total, _: self._tell("imatrix", done, total, unit="chunks"),
            )
        matrix = read_imatrix(out)
        return matrix, _imatrix_note(matrix, facts.sha256, facts.text_sha256, facts.partial)

    def _expected(self, source: Path) -> Expected:
        """The catalog's tensors; where the recipe differs from the catalog's, with the types of a dry run."""
        order = self._order
        # The catalog's sizes are with an importance matrix only where the engine refuses to do without.
        if order.recipe.plain and order.has_imatrix == PRESETS[order.recipe.preset].needs_imatrix:
            return order.expected
        types = planned_types(self._engine, source, order.recipe, imatrix=order.has_imatrix)
        expected = {name: ExpectedTensor(order.expected[name].shape, kind) for name, kind in types.items()}
        changed = sum(expected[name] != order.expected[name] for name in expected)
        if changed:
            self._notes.append(
                f"{changed} of {len(expected)} tensors have another type than in the catalog's {order.variant}, since "
                + ("the recipe says so" if not order.recipe.plain else "there is an importance matrix")
            )
        return expected

    def _quantize(self, source: Path, matrix: Imatrix | None) -> None:
        order = self._order
        total = sum(tensor.bytes for tensor in order.expected.values())
        with self._stage("quantize"):
            quantize_gguf(
                self._engine,
                source,
                self._file,
                order.recipe,
                imatrix=matrix,
                imatrix_name=IMATRIX_FILE,
                threads=order.threads,
                progress=lambda done, _: self._tell("quantize", min(done, total), total),
            )

    def _fetching(self, now: FetchProgress) -> None:
        note = now.note or f"{now.phase} {now.name}"
        self._tell("source", now.done_bytes, now.total_bytes, note)

    def _copy(self, fetched: Fetched) -> None:
        """A published file, out of the Hub's cache."""
        (part, *more) = fetched.files
        if more:
            raise QuantizationError(
                f"{part.name} is one of {len(fetched.files)} parts; without --ready the variant is built here, in one"
            )
        with self._stage("copy"):
            shutil.copyfile(part.path, self._file)

    def _check(self, expected: Expected) -> None:
        """Every tensor is what it must be, and the engine takes the file."""
        with self._stage("check"):
            check_tensors([self._file], expected)
            require(self._engine.memory(MemoryQuestion(str(self._file), n_ctx=512)))

    def _fidelity(self, source: Path) -> Fidelity | None:
        order = self._order
        if order.fidelity_text is None:
            return None
        with self._stage("fidelity"):
            measured = measure_fidelity(
                self._file,
                source,
                order.fidelity_text,
                threads=order.threads,
                progress=lambda done, total, _: self._tell("fidelity", done, total, unit="chunks"),
            )
        # The manifest travels; the text's place on this machine means nothing elsewhere.
        return msgspec.structs.replace(measured, text=order.fidelity_text.name)

    def _bench(self, bench: Bench | None) -> dict[str, Any] | None:
        if bench is None:
            return None
        with self._stage("bench"):
            return bench(self._file)

    def _licenses(self, fetched: Fetched) -> tuple[str, ...]:
        """Copy the licence beside the file: whoever gets the one must get the other."""
        names = []
        for file in fetched.files:
            if _LICENSE.match(Path(file.name).name):
                shutil.copyfile(file.path, self._folder / Path(file.name).name)
                names.append(Path(file.name).name)
        return tuple(names)

    # --- telling --------------------------------------------------------------------------------------------------

    @contextmanager
    def _stage(self, stage: Stage) -> Iterator[None]:
        self._started = time.monotonic()
        self._tell(stage)
        yield
        self._seconds[stage] = round(time.monotonic() - self._started, 2)

    def _tell(
        self, stage: Stage, done: int = 0, total: int | None = None, note: str = "", *, unit: Unit = "bytes"
    ) -> None:
        seconds = time.monotonic() - self._started
        self._report(Progress(stage=stage, done=done, total=total, unit=unit, seconds=seconds, note=note))

    def _manifest(
        self,
        fetched: Fetched,
        licenses: tuple[str, ...],
        imatrix: ImatrixNote | None,
        fidelity: Fidelity | None,
        bench: dict[str, Any] | None,
    ) -> Manifest:
        order, source, header = self._order, self._order.source, read_header(self._file)
        by_type: Counter[str] = Counter()
        for tensor in header.tensors:
            by_type[tensor.type] += tensor.bytes
        elements = sum(math.prod(tensor.shape) for tensor in header.tensors)
        version = require(self._engine.version())
        self._tools |= {"llama-cpp-python": version.package, "llama.cpp": version.commit or "unknown"}
        return Manifest(
            tool_version=order.tool_version,
            built_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            model=msgspec.structs.replace(order.model, license_files=licenses),
            variant=order.variant,
            files=(FileNote(name=self._file.name, bytes=header.file_bytes, sha256=sha256_of(self._file)),),
            bytes_by_type=dict(by_type.most_common()),
            bits_per_weight=round(8 * sum(by_type.values()) / elements, 4),
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
            recipe=RecipeNote(
                method="published" if order.ready else "gguf",
                preset=order.recipe.preset,
                output_type=order.recipe.output_type,
                embedding_type=order.recipe.embedding_type,
                overrides=order.recipe.overrides,
                imatrix=imatrix,
            ),
            tools=self._tools,
            fidelity=fidelity,
            bench=bench,
            seconds=self._seconds,
            notes=(*source.notes, *self._notes),
        )


def _imatrix_note(
    matrix: Imatrix, sha256: str, text_sha256: str | None = None, partial: tuple[str, ...] = ()
) -> ImatrixNote:
    return ImatrixNote(
        name=IMATRIX_FILE,
        sha256=sha256,
        tensors=len(matrix.tensors),
        chunks=matrix.chunks,
        chunk_tokens=matrix.chunk_tokens,
        texts=matrix.datasets,
        text_sha256=text_sha256,
        partial=partial,
    )
