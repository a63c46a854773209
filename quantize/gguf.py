"""Quantizing by the engine's own quantizer, and proof that the file is what it should be.

    recipe = Recipe(preset="Q4_K_M")
    with Engine() as engine:
        quantize_gguf(engine, Path("model-f16.gguf"), Path("model-Q4_K_M.gguf"), recipe, imatrix=matrix)
    check_tensors(Path("model-Q4_K_M.gguf"), expected)

Which tensor gets which type is the engine's business (`llama_model_quantize`); a recipe names the mixture and what
the user wants otherwise. An importance matrix that helps at all is used for every type but the floating-point ones
and Q8_0, which the engine quantizes without looking at it.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from profiles.engine.client import Engine
from profiles.engine.protocol import EngineFailure, Quantize, TypeChoices
from profiles.throughput import require
from quantize.errors import QuantizationError, UnexpectedTensorsError
from quantize.gguf_header import read_header
from quantize.imatrix import Imatrix
from quantize.room import told_when_full
from quantize.types import PRESETS, TENSOR_TYPES, row_bytes

TIMEOUT_S = 24 * 3600.0  # 24B at a slow type on a board takes hours; a hang shows in the progress
WITHOUT_IMATRIX = frozenset({"F16", "BF16", "Q8_0", "MXFP4"})
"""Presets that an importance matrix does not change."""
RESIZED_BY_IMATRIX = frozenset({"Q4_0", "Q5_0", "IQ4_NL", "IQ4_XS"})
"""Presets whose mixture is another, about 1% larger or smaller, with an importance matrix."""

_POLL_S = 0.2
_SHOWN = 3  # tensors that an error names

Progress = Callable[[int, float], None]
"""Bytes written so far, and the seconds that took."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How the weights are quantized. Types are names of `quantize.types.TENSOR_TYPES` ("Q6_K").

    `overrides` gives tensors whose name a regular expression matches a type of their own; the first match counts.
    """

    preset: str
    output_type: str | None = None
    embedding_type: str | None = None
    overrides: tuple[tuple[str, str], ...] = ()

    @property
    def plain(self) -> bool:
        """Nothing but the preset: the sizes are those of the catalog."""
        return self.output_type is None and self.embedding_type is None and not self.overrides


class ExpectedTensor(msgspec.Struct, frozen=True):
    """What a tensor of the result must be: shape in ggml's order, type by name."""

    shape: tuple[int, ...]
    type: str

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Of its data."""
        return row_bytes(self.type, self.shape[0]) * math.prod(self.shape[1:])


Expected = Mapping[str, ExpectedTensor]


def make_recipe(
    preset: str,
    *,
    output_type: str | None = None,
    embedding_type: str | None = None,
    overrides: tuple[str, ...] = (),
) -> Recipe:
    """A recipe from what a user writes: types in any case, overrides as "REGEX=TYPE". Raises QuantizationError."""
    pairs = []
    for text in overrides:
        pattern, equals, kind = text.rpartition("=")
        if not equals or not pattern:
            raise QuantizationError(f"'{text}' is no override; write it like 'ffn_down=Q6_K'")
        try:
            re.compile(pattern)
        except re.error as error:
            raise QuantizationError(f"'{pattern}' is no regular expression: {error}") from error
        pairs.append((pattern, _type(kind)))
    return Recipe(
        preset=preset,
        output_type=_type(output_type) if output_type else None,
        embedding_type=_type(embedding_type) if embedding_type else None,
        overrides=tuple(pairs),
    )


def planned_types(engine: Engine, source: Path, recipe: Recipe, *, imatrix: bool) -> dict[str, str]:
    """The type each tensor of the result will have, by the engine's dry run over `source`.

    Raises QuantizationError for a recipe that the engine refuses, EngineError.
    """
    preset = PRESETS[recipe.preset]
    reply = engine.quantize_dry_run(source, preset.ftype, imatrix=imatrix, types=_choices(recipe))
    if isinstance(reply, EngineFailure) and reply.kind == "refused":
        raise QuantizationError(_with_reason(reply.message, reply))
    return {tensor.name: tensor.type.upper() for tensor in require(reply).tensors}


def quantize_gguf(
    engine: Engine,
    source: Path,
    out: Path,
    recipe: Recipe,
    *,
    imatrix: Imatrix | None = None,
    imatrix_name: str = "imatrix.gguf",
    threads: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Write `source`, quantized, to `out`; what was there is overwritten.

    The file names the importance matrix as llama-quantize does, but by `imatrix_name` alone, so that the same inputs
    make the same bytes in every folder. Raises QuantizationError, NoRoomError where the disk becomes full, and
    EngineError, with nothing left at `out`.
    """
    preset = PRESETS[recipe.preset]
    if preset.needs_imatrix and imatrix is None:
        raise QuantizationError(f"{preset.name} needs an importance matrix")
    request = Quantize(
        str(source),
        str(out),
        preset.ftype,
        types=_choices(recipe),
        imatrix=imatrix.importance() if imatrix else None,
        metadata=_imatrix_metadata(imatrix, imatrix_name) if imatrix else {},
        threads=threads,
    )
    try:
        with told_when_full(out.parent):
            with _watched(out, progress):
                reply = engine.quantize(request, timeout_s=TIMEOUT_S)
            if isinstance(reply, EngineFailure) and reply.kind == "refused":
                raise QuantizationError(_with_reason(reply.message, reply))
            require(reply)
    except BaseException:
        out.unlink(missing_ok=True)
        raise


def check_tensors(parts: Sequence[Path], expected: Expected, *, types: bool = True) -> None:
    """Raise UnexpectedTensorsError unless the file has exactly these tensors; without `types`, of any type.

    `parts` is the file, or all parts of it. Raises InvalidModelError for one that is cut off or no model.
    """
    found = {
        tensor.name: ExpectedTensor(tensor.shape, tensor.type)
        for path in parts
        for tensor in read_header(path).tensors
    }
    wrong = [f"{name} is missing" for name in expected.keys() - found.keys()]
    wrong += [f"{name} is one too many" for name in found.keys() - expected.keys()]
    for name in expected.keys() & found.keys():
        want, have = expected[name], found[name]
        if want.shape != have.shape:
            wrong.append(f"{name} has shape {_x(have.shape)}, not {_x(want.shape)}")
        elif types and want.type != have.type:
            wrong.append(f"{name} has type {have.type}, not {want.type}")
    if wrong:
        shown = "; ".join(sorted(wrong)[:_SHOWN]) + ("; …" if len(wrong) > _SHOWN else "")
        raise UnexpectedTensorsError(f"{parts[0].name} is not what the catalog expects: {shown}")


def _choices(recipe: Recipe) -> TypeChoices:
    def number(kind: str | None) -> int | None:
        return None if kind is None else TENSOR_TYPES[kind].id

    return TypeChoices(
        number(recipe.output_type),
        number(recipe.embedding_type),
        tuple((pattern, TENSOR_TYPES[kind].id) for pattern, kind in recipe.overrides),
    )


def _type(text: str) -> str:
    name = text.strip().upper()
    if name not in TENSOR_TYPES:
        raise QuantizationError(f"'{text}' is no tensor type; known: {', '.join(TENSOR_TYPES)}")
    return name


def _imatrix_metadata(imatrix: Imatrix, name: str) -> dict[str, int | str]:
    """The keys that llama-quantize writes (tools/quantize/quantize.cpp)."""
    return {
        "quantize.imatrix.file": name,
        "quantize.imatrix.dataset": ", ".join(imatrix.datasets),
        "quantize.imatrix.entries_count": len(imatrix.tensors),
        "quantize.imatrix.chunks_count": imatrix.chunks,
    }


@contextmanager
def _watched(out: Path, progress: Progress | None) -> Iterator[None]:
    """Tell how large `out` is while somebody else writes it: the engine answers only once it is done."""
    if progress is None:
        yield
        return
    started, over = time.monotonic(), threading.Event()

    def look() -> None:
        while not over.wait(_POLL_S):
            with suppress(OSError):
                progress(out.stat().st_size, time.monotonic() - started)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _with_reason(message: str, failure: EngineFailure) -> str:
    """The engine's own last line says more than its return code."""
    lines = [line for line in failure.last_words.splitlines() if "failed" in line or "error" in line.lower()]
    return f"{message}: {lines[-1].rpartition(': ')[2]}" if lines else message


def _x(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
