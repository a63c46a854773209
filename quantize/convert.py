"""A Hugging Face folder of safetensors as one GGUF in full precision, made by llama.cpp's own converter.

    converter = find_converter() or install_converter(report)
    facts = convert(Path("SmolLM2-135M"), Path("build/model.gguf"), converter=converter, report=report)

The converter runs in an environment and a process of its own, without network, over links to what describes the
weights: code in the folder is never run. The file appears whole or not at all, and its tensors have been held
against those that went in.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from profiles.child import end_group
from profiles.orderly_end import orderly_end
from quantize.architecture import from_hf_config, parameter_count, tensors
from quantize.converter.checks import check_result
from quantize.converter.environment import (
    RUNNER,
    Converter,
    ConverterPlan,
    InstallProgress,
    converter_plan,
    find_converter,
    install_converter,
    require_converter,
    require_network,
)
from quantize.converter.failures import failure
from quantize.converter.folder import ModelFolder, read_folder, show
from quantize.errors import ConversionError, InvalidModelError, NoRoomError, UnknownArchitectureError
from quantize.gguf_header import Header, read_header

__all__ = [
    "ConversionFacts",
    "ConvertProgress",
    "Converter",
    "ConverterPlan",
    "InstallProgress",
    "ModelFolder",
    "convert",
    "converted_bytes",
    "converter_plan",
    "converting_bytes",
    "expected_bytes",
    "find_converter",
    "full_precision",
    "install_converter",
    "memory_bytes",
    "read_folder",
    "require_network",
]

Precision = Literal["f32", "f16", "bf16"]
OutType = Literal["auto", "f32", "f16", "bf16"]

_TICK_S = 0.5
_BYTES = {"f32": 4, "f16": 2, "bf16": 2}
# Measured on 0.8 billion parameters, RssAnon, torch 2.13: the interpreter, and each weight of the largest tensor.
_BASE_MEMORY_BYTES = 300_000_000
_MEMORY_BYTES = {"f32": 4, "f16": 6, "bf16": 8}
_TOKEN_BYTES = 36  # in the vocabulary, with its merge: 22 to 36


class ConvertProgress(msgspec.Struct, frozen=True):
    """Where a conversion is. The total is approximate, within a percent."""

    phase: Literal["reading", "writing", "checking"]
    done_bytes: int
    total_bytes: int
    elapsed_s: float


class ConversionFacts(msgspec.Struct, frozen=True):
    """What was made and by what. `precision` is the type of most weights."""

    converter: dict[str, str]
    precision: str
    tensors: int
    parameters: int
    file_bytes: int
    seconds: float


def full_precision(model: ModelFolder) -> Precision:
    """The type that loses nothing of the model's weights, judged by the type of most of them."""
    if model.weights.dtype in ("F32", "F64"):
        return "f32"
    return "f16" if model.weights.dtype == "F16" else "bf16"


def expected_bytes(model: ModelFolder, outtype: OutType = "auto") -> int:
    """The size of the GGUF, within a percent or so: norms are kept in 4 bytes, and vocabularies differ."""
    parameters = model.weights.parameters
    with suppress(UnknownArchitectureError, InvalidModelError):  # packed weights, or a model that also sees
        parameters = parameter_count(from_hf_config(model.config))
    return converted_bytes(parameters, model.n_vocab, _precision(model, outtype))


def converted_bytes(parameters: int, n_vocab: int, precision: Precision) -> int:
    """As `expected_bytes`, for a model that is not here yet."""
    return parameters * _BYTES[precision] + n_vocab * _TOKEN_BYTES


def memory_bytes(model: ModelFolder, outtype: OutType = "auto") -> int:
    """The memory that converting takes, about: the converter holds one tensor of the result at a time."""
    largest = max(tensor.parameters for tensor in model.weights.tensors)
    with suppress(UnknownArchitectureError, InvalidModelError):  # experts are put together into one tensor
        largest = max(largest, *(math.prod(tensor.shape) for tensor in tensors(from_hf_config(model.config))))
    return converting_bytes(largest, _precision(model, outtype))


def converting_bytes(largest: int, precision: Precision) -> int:
    """As `memory_bytes`, for a model that is not here yet; `largest` is the number of weights in its largest tensor."""
    return _BASE_MEMORY_BYTES + largest * _MEMORY_BYTES[precision]


def _precision(model: ModelFolder, outtype: OutType) -> Precision:
    return full_precision(model) if outtype == "auto" else outtype


def convert(
    folder: Path,
    out: Path,
    *,
    outtype: OutType = "auto",
    report: Callable[[ConvertProgress], None] = lambda progress: None,
    converter: Converter | None = None,
    name: str | None = None,
    allow_quantized: bool = False,
) -> ConversionFacts:
    """Convert the model in `folder` to the GGUF `out`, in place of what is there; its folder must exist.

    `auto` keeps the precision that the weights have. `name` is what the file calls the model (general.name); without
    it the converter guesses by the model card and the folder, which in a cache is named by a commit. Weights that were
    quantized already are refused, unless `allow_quantized`: then they are put back into full precision, as far as
    the converter can.

    Raises ConversionError and InvalidModelError for what cannot be converted, ConverterMissingError, NoRoomError and
    TooLittleMemoryError. Whatever happens, Ctrl-C and SIGTERM too, `out` is whole or as it was and no process stays.
    """
    started = time.monotonic()
    model = read_folder(folder)
    if model.quantized and not allow_quantized:
        raise ConversionError(
            f"{folder} is quantized already ({model.quantized}): start from the weights that it was made of"
        )
    converter = converter or require_converter()
    precision = _precision(model, outtype)
    total = expected_bytes(model, outtype)
    free = shutil.disk_usage(out.parent).free
    if free < total:
        raise NoRoomError(
            f"{out.parent} has {free / 1e9:.1f} GB free, and the converted model takes about {total / 1e9:.1f} GB: "
            "free some, or choose another disk"
        )

    def tell(phase: Literal["reading", "writing", "checking"], done: int) -> None:
        report(ConvertProgress(phase, min(done, total), total, time.monotonic() - started))

    with orderly_end(), tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        made = Path(scratch, "made.gguf")
        shown = Path(scratch, "model", folder.resolve().name or "model")
        shown.mkdir(parents=True)
        show(model, shown)
        tell("reading", 0)
        options = (("--model-name", name) if name else ()) + (
            ("--no-nextn",) if model.lacks_prediction else ()
        )
        arguments = (str(shown), "--outfile", str(made), "--outtype", precision, *options)
        _run(converter, arguments, made, Path(scratch), model, tell)
        tell("checking", total)
        header = read_header(made)
        check_result(header, model)
        made.replace(out)
    return _facts(header, converter, time.monotonic() - started)


def _facts(header: Header, converter: Converter, seconds: float) -> ConversionFacts:
    types: Counter[str] = Counter()
    for tensor in header.tensors:
        types[tensor.type] += math.prod(tensor.shape)
    return ConversionFacts(
        converter=converter.versions,
        precision=types.most_common(1)[0][0].lower(),
        tensors=len(header.tensors),
        parameters=types.total(),
        file_bytes=header.file_bytes,
        seconds=seconds,
    )


def _run(
    converter: Converter,
    arguments: tuple[str, ...],
    made: Path,
    scratch: Path,
    model: ModelFolder,
    tell: Callable[[Literal["reading", "writing", "checking"], int], None],
) -> None:
    """Run the converter to its end and raise what its failure means; its process ends with this call."""
    environment = {
        **os.environ,
        "HF_HOME": str(scratch / "hub"),  # empty: what is cached in the user's is not this model
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "TMPDIR": str(scratch),
    }
    with scratch.joinpath("said").open("w+b") as said:
        process = subprocess.Popen(
            (converter.python, "-I", str(RUNNER), *arguments),
            stdin=subprocess.PIPE,  # its end tells the runner that we are gone
            stdout=said,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            text=True,
        )
        assert process.stdin is not None
        code = None
        try:
            while code is None:
                # The file appears when all tensors have been looked at.
                with suppress(FileNotFoundError):
                    tell("writing", made.stat().st_size)
                with suppress(subprocess.TimeoutExpired):
                    code = process.wait(_TICK_S)
        except BaseException:
            end_group(process)
            raise
        finally:
            process.stdin.close()
        if code:
            said.seek(0)
            raise failure(code, said.read().decode(errors="replace"), model, converter.version)
