"""GPTQ: from full-precision weights to a checkpoint that transformers and vLLM read.

    plan = plan_gptq(folder, parse_gptq("GPTQ-4bit-128g"))       # bytes, memory and time; nothing heavy
    facts = quantize_gptq(folder, out, recipe, CALIBRATION)      # minutes to hours

Done by GPTQModel, in a process of its own (`quantize.gptq_worker`), on a processor or a CUDA device. It computes the
same twice: the same source, text, recipe, versions, device and number of threads give the same weights, bit by bit.
Afterwards the files are read back: their tensors must be those that were ordered, and transformers must load them.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from profiles.orderly_end import orderly_end
from quantize.architecture import Architecture, tensors
from quantize.errors import GptqError, GptqMissingError, NoRoomError, TooLittleMemoryError
from quantize.fidelity import free_bytes
from quantize.gptq_checkpoint import (
    check_checkpoint,
    check_source,
    expected_tensors,
    matrices,
    rest_dtype,
    total_bytes,
    vocabulary_of,
)
from quantize.gptq_recipe import GptqRecipe, vllm_objection
from quantize.gptq_worker.client import INSTALL, TorchProcess, usable_cores
from quantize.gptq_worker.protocol import Device, Load, Loaded, Quantize, Quantized, Started, Step
from quantize.hashes import sha256_of
from quantize.json_file import read_json
from quantize.safetensors_header import SafetensorsTensor, Weights, read_weights

CONTEXT = 512  # tokens of a sample of the calibration text
SAMPLES = 128  # at most; more help little (GPTQ, section 4) and take time and memory

Phase = Literal["starting", "quantizing", "writing", "checking"]


class GptqTools(msgspec.Struct, frozen=True):
    """What is installed, by distribution."""

    versions: dict[str, str]


class GptqPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a build would take. `seconds` is rough, for this processor: the first layer done tells more."""

    checkpoint_bytes: int  # of all tensors: exact
    disk_bytes: int  # at most at any time, in the folder that is written to
    memory_bytes: int
    seconds: float
    modules: int  # matrices to quantize
    vocabulary: int  # tokens, at most


class GptqProgress(msgspec.Struct, frozen=True):
    """Where a build is. `done` of `total` layers are quantized; 0 of 0 while the number is not known."""

    phase: Phase
    done: int
    total: int
    elapsed_s: float


class GptqFile(msgspec.Struct, frozen=True):
    """One file of the checkpoint."""

    name: str
    bytes: int
    sha256: str


class GptqFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What was built, from what, and how."""

    recipe: str
    quantizer: dict[str, str]  # versions
    device: str  # "cpu", or the name of the GPU
    threads: int
    calibration_text: str
    calibration_sha256: str
    samples: int
    context: int  # tokens of a sample
    modules: int  # matrices quantized
    whole: tuple[str, ...]  # matrices inside blocks that GPTQModel left as they were
    rest_dtype: str  # "F16" or "BF16"
    files: tuple[GptqFile, ...]
    checkpoint_bytes: int  # of all tensors
    parameters: int  # of the source
    transformers_kernel: str  # the class that transformers read the packed matrices with, here on the CPU
    transformers_backend: str | None  # GPTQConfig(backend=...) that it had to be given for that
    vllm: str | None  # why current vLLM does not read it, None where it should
    seconds: float
    peak_memory_bytes: int | None

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.checkpoint_bytes / self.parameters


Report = Callable[[GptqProgress], None]


def find_gptq() -> GptqTools | None:
    """The versions of what GPTQ needs, or None where a part is missing. Imports none of it."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return GptqTools({name: version(name) for name in ("gptqmodel", "torch", "transformers", "optimum")})
    except PackageNotFoundError:
        return None


def require_gptq() -> GptqTools:
    """As `find_gptq`, but raises GptqMissingError with the command that installs it."""
    tools = find_gptq()
    if tools is None:
        raise GptqMissingError(
            f"GPTQ needs GPTQModel and torch, about 2 GB, which are not installed: {INSTALL}"
        )
    return tools


def plan_gptq(
    folder: Path, recipe: GptqRecipe, *, samples: int = SAMPLES, context: int = CONTEXT
) -> GptqPlan:
    """What quantizing the model in `folder` would take, from the headers of its files.

    Raises InvalidModelError for a folder that is no model and GptqError for a model that GPTQ does not take.
    """
    weights = read_weights(folder)
    config = _config(folder)
    check_source(folder, weights, recipe)
    return _plan(weights, recipe, tied=_tied(config), samples=samples, context=context)


def plan_gptq_of(name: str, arch: Architecture, recipe: GptqRecipe) -> GptqPlan:
    """As `plan_gptq`, from the dimensions of a model that is not here yet; `name` is for the message of an error."""
    if arch.moe is not None:
        raise GptqError(
            f"{name} is a mixture of experts, for which GPTQ is not offered: take a GGUF quantization"
        )
    described = (
        SafetensorsTensor(tensor.name, "BF16", tensor.shape[::-1], 2 * tensor.n_elements)
        for tensor in tensors(arch)
    )
    weights = Weights(files=(), tensors=tuple(described))
    check_source(Path(name), weights, recipe)
    return _plan(weights, recipe, tied=False, samples=SAMPLES, context=CONTEXT)


def _plan(weights: Weights, recipe: GptqRecipe, *, tied: bool, samples: int, context: int) -> GptqPlan:
    found = matrices(weights)
    checkpoint = total_bytes(expected_tensors(weights, recipe, found, tied=tied).values())
    shapes = [tensor.shape for tensor in found.values()]
    inside = sum(map(math.prod, shapes))
    rest = weights.parameters - inside
    tokens = samples * context
    width = max(columns for _, columns in shapes)
    return GptqPlan(
        checkpoint_bytes=checkpoint,
        # GPTQModel tries the disk, puts finished layers aside and writes its checkpoint, with the rest in 32 bits;
        # ours follows.
        disk_bytes=200_000_000 + 3 * checkpoint + 2 * 4 * rest,
        # A process with torch in it; the rest twice, as read and in use; what the widest matrix sees of all samples
        # and one copy of it; its Hessian, inverse and working copies; the source, which is mapped. Builds of 2 to 384
        # million parameters took from 3% more than that to 30% less.
        memory_bytes=850_000_000 + 2 * 4 * rest + 2 * 4 * tokens * width + 5 * 4 * width**2 + weights.bytes,
        seconds=_STARTUP_S
        + sum(_flops(shape, tokens) for shape in shapes) / (usable_cores() * _FLOPS_PER_CORE),
        modules=len(found),
        vocabulary=vocabulary_of(weights),
    )


def quantize_gptq(
    folder: Path,
    out: Path,
    recipe: GptqRecipe,
    calibration_text: Path,
    *,
    device: Device = "auto",
    samples: int = SAMPLES,
    context: int = CONTEXT,
    threads: int | None = None,
    progress: Report | None = None,
) -> GptqFacts:
    """Quantize the model in `folder` to `out`, an empty or absent folder, in which everything is written.

    `calibration_text` is cut into samples of `context` tokens, of which `samples` are read. Whatever stops it, no
    process is left; `out` is the caller's to remove. Raises GptqMissingError, InvalidModelError, GptqError,
    NoRoomError, TooLittleMemoryError, GptqWorkerError, and UnexpectedTensorsError for a result that is not
    what was ordered. SIGTERM and SIGHUP become SystemExit meanwhile.
    """
    started = time.monotonic()
    done = total = 0

    def tell(phase: Phase) -> None:
        if progress is not None:
            progress(GptqProgress(phase, done, total, time.monotonic() - started))

    require_gptq()
    plan = plan_gptq(folder, recipe, samples=samples, context=context)
    weights = read_weights(folder)
    _check_room(out, plan)
    scratch = out / ".scratch"
    scratch.mkdir(parents=True)
    threads = threads or usable_cores()
    job = Quantize(
        folder=str(folder.absolute()),
        out=str(out.absolute()),
        scratch=str(scratch.absolute()),
        bits=recipe.bits,
        group_size=recipe.group_size,
        act_order=recipe.act_order,
        rest_dtype=rest_dtype(weights),
        text=str(calibration_text.absolute()),
        context=context,
        samples=samples,
        device=device,
    )
    tell("starting")
    begun: Started | None = None
    quantized: Quantized | None = None
    loaded: Loaded | None = None
    with orderly_end():
        with TorchProcess(job, scratch=scratch, threads=threads) as process:
            for message in process.messages():
                match message:
                    case Started():
                        begun, total = message, message.total
                        tell("quantizing")
                    case Step():
                        done = message.done
                        tell(message.phase)
                    case Quantized():
                        quantized = message
        assert begun is not None and quantized is not None
        tell("checking")
        built = read_weights(out)
        modules = quantized.modules
        expected = expected_tensors(weights, recipe, modules, tied=_tied(_config(folder)))
        check_checkpoint(out, built, expected, recipe)
        with TorchProcess(Load(str(out.absolute())), scratch=scratch, threads=threads) as process:
            loaded = next((message for message in process.messages() if isinstance(message, Loaded)), None)
    shutil.rmtree(scratch)
    assert loaded is not None
    if loaded.modules != len(modules):
        raise GptqError(
            f"transformers found {loaded.modules} quantized matrices in {out}, and {len(modules)} were written"
        )
    return GptqFacts(
        recipe=str(recipe),
        quantizer=begun.versions,
        device=begun.device,
        threads=threads,
        calibration_text=str(calibration_text),
        calibration_sha256=sha256_of(calibration_text),
        samples=quantized.samples,
        context=context,
        modules=len(modules),
        whole=tuple(sorted(matrices(weights).keys() - set(modules))),
        rest_dtype=rest_dtype(weights),
        files=tuple(
            GptqFile(path.name, path.stat().st_size, sha256_of(path))
            for path in sorted(out.iterdir())
            if path.is_file()
        ),
        checkpoint_bytes=built.bytes,
        parameters=weights.parameters,
        transformers_kernel=loaded.kernel,
        transformers_backend=loaded.needs_backend,
        vllm=vllm_objection(recipe),
        seconds=time.monotonic() - started,
        peak_memory_bytes=quantized.peak_memory_bytes,
    )


_STARTUP_S = 15.0  # two processes with torch in them
# What GPTQModel 7.6 gets out of a core of an EPYC (AVX-512) all in all; fitted on builds there, within a factor of 2.
_FLOPS_PER_CORE = 6e10


def _flops(shape: tuple[int, ...], tokens: int) -> float:
    """Five passes of the text through a matrix, its Hessian, that one's inverse, and the rounding."""
    rows, columns = shape
    return 5 * 2 * rows * columns * tokens + 2 * tokens * columns**2 + 3 * columns**3 + 2 * rows * columns**2


def _check_room(out: Path, plan: GptqPlan) -> None:
    if out.exists() and any(out.iterdir()):
        raise GptqError(f"{out} is not empty: give a folder of its own")
    out.mkdir(parents=True, exist_ok=True)
    free_disk = shutil.disk_usage(out).free
    if free_disk < plan.disk_bytes:
        raise NoRoomError(
            f"{out} has {free_disk / 1e9:.1f} GB free, and the build takes {plan.disk_bytes / 1e9:.1f} GB meanwhile"
        )
    free = free_bytes()
    if free is not None and free < plan.memory_bytes:
        raise TooLittleMemoryError(
            f"quantizing takes about {plan.memory_bytes / 1e9:.1f} GB, {free / 1e9:.1f} GB are free: close other "
            "programs"
        )


def _config(folder: Path) -> dict[str, Any]:
    config = read_json(folder / "config.json")
    if "quantization_config" in config:
        raise GptqError(f"{folder} is quantized already: GPTQ starts from full precision")
    return config


def _tied(config: dict[str, Any]) -> bool:
    return bool(config.get("tie_word_embeddings"))
