"""One build, from full-precision weights to a folder with the quantized file and the proof of what it is.

    with Engine() as engine:
        manifest = build(order, engine, report=print)

Everything is made in a folder beside the target (`quantize.workspace`) and takes its name at the end, in one step:
source, conversion where it is no GGUF, importance matrix, quantization, the check of every tensor, fidelity against
the source, the manifest. What decides the result is in the `Order`; nothing depends on the time or the place.
"""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from profiles.engine.client import Engine
from profiles.engine.protocol import MemoryQuestion
from profiles.throughput import require
from quantize.build_steps import Progress, Report, Steps
from quantize.convert import convert, find_converter, install_converter
from quantize.errors import QuantizationError
from quantize.fidelity import Fidelity, measure_fidelity
from quantize.gguf import Expected, ExpectedTensor, Recipe, check_tensors, planned_types, quantize_gguf
from quantize.gguf_header import read_header
from quantize.hashes import sha256_of
from quantize.imatrix import Imatrix, collect_imatrix, read_imatrix
from quantize.manifest import FileNote, ImatrixNote, Manifest, ModelNote, RecipeNote, write_manifest
from quantize.sources.source import Fetched, Source
from quantize.types import PRESETS
from quantize.workspace import workspace

IMATRIX_FILE = "imatrix.gguf"

Bench = Callable[[Path], dict[str, Any]]
"""Runs the built file and gives what was measured."""


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
    """The steps, and what they have found so far."""

    def __init__(self, order: Order, engine: Engine, folder: Path, report: Report) -> None:
        self._order = order
        self._engine = engine
        self._steps = Steps(folder, report)
        self._file = folder / order.file_name
        self._tools: dict[str, str] = {}
        self._notes: list[str] = []

    def run(self, bench: Bench | None) -> Manifest:
        fetched = self._steps.fetch(self._order.source)
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
        measured = None
        if bench is not None:
            with self._steps.stage("bench"):
                measured = bench(self._file)
        shutil.rmtree(self._steps.temporary)
        return self._manifest(fetched, imatrix, fidelity, measured)

    def _copy(self, fetched: Fetched) -> None:
        """A published file, out of the Hub's cache."""
        (part, *more) = [file for file in fetched.files if file.name.endswith(".gguf")]
        if more:
            raise QuantizationError(
                f"{part.name} is one of {1 + len(more)} parts; without --ready the variant is built here, in one"
            )
        with self._steps.stage("copy"):
            shutil.copyfile(part.path, self._file)

    def _full_precision(self, fetched: Fetched) -> Path:
        """The source as a GGUF with the model's tensors: as it is, or converted."""
        if fetched.source.kind == "safetensors":
            source = self._convert(fetched.path)
            parts = [source]
        else:
            source = fetched.path
            parts = [file.path for file in fetched.files if file.name.endswith(".gguf")]
        check_tensors(parts, self._order.expected, types=False)
        return source

    def _convert(self, folder: Path) -> Path:
        steps, converter = self._steps, find_converter()
        if converter is None:
            with steps.stage("converter"):
                converter = install_converter(
                    lambda now: steps.tell(
                        "converter", now.done_bytes, None, f"{now.phase} {now.what}".strip()
                    )
                )
        source = steps.temporary / "source.gguf"
        with steps.stage("convert"):
            facts = convert(
                folder,
                source,
                converter=converter,
                name=self._order.model.name,
                report=lambda now: steps.tell("convert", now.done_bytes, now.total_bytes, now.phase),
            )
        self._tools |= facts.converter
        return source

    def _imatrix(self, source: Path) -> tuple[Imatrix | None, ImatrixNote | None]:
        order = self._order
        out = self._steps.folder / IMATRIX_FILE
        if order.imatrix is not None:
            shutil.copyfile(order.imatrix, out)
            matrix = read_imatrix(out)
            return matrix, _imatrix_note(matrix, sha256_of(out))
        if order.calibration_text is None:
            return None, None
        with self._steps.stage("imatrix"):
            facts = collect_imatrix(
                self._engine,
                source,
                order.calibration_text,
                out,
                threads=order.threads,
                progress=self._steps.chunks("imatrix"),
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
            why = "there is an importance matrix" if order.recipe.plain else "the recipe says so"
            self._notes.append(
                f"{changed} of {len(expected)} tensors have another type than in the catalog's {order.variant}, "
                f"since {why}"
            )
        return expected

    def _quantize(self, source: Path, matrix: Imatrix | None) -> None:
        order, steps = self._order, self._steps
        total = sum(tensor.bytes for tensor in order.expected.values())
        with steps.stage("quantize"):
            quantize_gguf(
                self._engine,
                source,
                self._file,
                order.recipe,
                imatrix=matrix,
                imatrix_name=IMATRIX_FILE,
                threads=order.threads,
                progress=lambda done, _: steps.tell("quantize", min(done, total), total),
            )

    def _check(self, expected: Expected) -> None:
        """Every tensor is what it must be, and the engine takes the file."""
        with self._steps.stage("check"):
            check_tensors([self._file], expected)
            require(self._engine.memory(MemoryQuestion(str(self._file), n_ctx=512)))

    def _fidelity(self, source: Path) -> Fidelity | None:
        order = self._order
        if order.fidelity_text is None:
            return None
        with self._steps.stage("fidelity"):
            measured = measure_fidelity(
                self._file,
                source,
                order.fidelity_text,
                threads=order.threads,
                progress=self._steps.chunks("fidelity"),
            )
        # The manifest travels; the text's place on this machine means nothing elsewhere.
        return msgspec.structs.replace(measured, text=order.fidelity_text.name)

    def _manifest(
        self,
        fetched: Fetched,
        imatrix: ImatrixNote | None,
        fidelity: Fidelity | None,
        bench: dict[str, Any] | None,
    ) -> Manifest:
        order, recipe, header = self._order, self._order.recipe, read_header(self._file)
        by_type: Counter[str] = Counter()
        for tensor in header.tensors:
            by_type[tensor.type] += tensor.bytes
        version = require(self._engine.version())
        return self._steps.manifest(
            tool_version=order.tool_version,
            model=order.model,
            variant=order.variant,
            files=(FileNote(name=self._file.name, bytes=header.file_bytes, sha256=sha256_of(self._file)),),
            bytes_by_type=by_type,
            elements=sum(math.prod(tensor.shape) for tensor in header.tensors),
            fetched=fetched,
            recipe=RecipeNote(
                method="published" if order.ready else "gguf",
                preset=recipe.preset,
                output_type=recipe.output_type,
                embedding_type=recipe.embedding_type,
                overrides=recipe.overrides,
                imatrix=imatrix,
            ),
            tools={
                **self._tools,
                "llama-cpp-python": version.package,
                "llama.cpp": version.commit or "unknown",
            },
            fidelity=fidelity,
            bench=bench,
            notes=tuple(self._notes),
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
