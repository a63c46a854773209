"""Is the engine there, does it run, and does its build use what this device offers? One check a function.

A check that cannot look says so (`unknown`) and never fails: only an engine that is there and does not work does.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from profiles.calibration_store import load_calibration
from profiles.device import Device
from profiles.engine.build import REQUIREMENT, BuildPlan, plan_build
from profiles.engine.build_facts import FEATURES
from profiles.engine.client import Engine
from profiles.engine.fit import (
    compiled_backends,
    emitted_by,
    engine_features,
    gpu_backends,
    has_tiles,
    older_than_required,
    suits,
    unused_features,
)
from profiles.engine.installed import InstalledEngine, installed_engine
from profiles.engine.protocol import EngineFailure, EngineVersion, LoadModel, OpenContext, RunTest
from profiles.engine.toolchain import Toolchain
from profiles.fingerprint import fingerprint
from profiles.text import amount
from quantize.architecture import Architecture, tensors
from quantize.errors import QuantizeError
from quantize.synthetic import SAMPLE_BLOCKS, write_synthetic

State = Literal["ok", "improve", "missing", "failed", "unknown"]
_INSTALL = "slm-advisor engine install"
_TINY_TYPE = "Q4_K"
_TINY = Architecture(
    name="llama",
    n_layer=2,
    n_embd=256,
    n_ff=512,
    n_head=4,
    n_head_kv=2,
    head_dim=64,
    n_vocab=512,
    context_length=512,
)
_TEMPORARY_BYTES = 2 * 10**9  # a probe of a model of 3B takes about as much


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing looked at. `advice` is a command or a sentence, where something can be done."""

    name: str
    state: State
    detail: str
    advice: str | None = None


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `plan` is the build that suits the device now; `fits` says that it would gain nothing."""

    installed: InstalledEngine | None
    version: EngineVersion | None  # None where the engine is missing or does not answer
    checks: tuple[Check, ...]
    plan: BuildPlan
    fits: bool

    @property
    def exit_code(self) -> int:
        """0: usable, 3: something is broken, 5: there is no engine."""
        states = {check.state for check in self.checks}
        return 5 if "missing" in states else 3 if "failed" in states else 0


def examine(device: Device, tools: Toolchain) -> Diagnosis:
    """Look at the engine of the running interpreter. Starts a worker and runs a tiny model (about 2 s)."""
    installed = installed_engine()
    plan = plan_build(device, tools, replaces=installed is not None)
    checks: list[Check] = []
    version = None
    if installed is None:
        checks += [_engine_missing(plan), *_build_tools(plan)]
    else:
        with Engine() as engine:
            started = time.monotonic()
            answer = engine.version()
            taken_s = time.monotonic() - started
            if isinstance(answer, EngineVersion):
                version = answer
                checks += [_engine(installed, answer), _worker(taken_s)]
                checks += build_checks(device, tools, plan, installed, answer)
                checks += [_test_run(engine, answer)]
            else:
                checks += [_engine_broken(installed, answer), *_build_tools(plan)]
    checks += _surroundings(device)
    if version is not None and installed is not None:
        checks.append(_calibration(device, installed))
    fits = (
        installed is not None
        and version is not None
        and suits(plan, device, version, installed, tools.compiler)
    )
    return Diagnosis(installed=installed, version=version, checks=tuple(checks), plan=plan, fits=fits)


# --- the engine -----------------------------------------------------------------------------------------------


def _engine_missing(plan: BuildPlan) -> Check:
    return Check(
        name="engine",
        state="missing",
        detail="llama-cpp-python is not installed: bench, probe and calibrate need it, recommend does not",
        advice=None if plan.missing else _INSTALL,
    )


def _engine_broken(installed: InstalledEngine, failure: EngineFailure) -> Check:
    return Check(
        name="engine",
        state="failed",
        detail=f"{installed.identity} is installed and does not start: {failure.message}",
        advice=f"{_INSTALL} --force",
    )


def _engine(installed: InstalledEngine, version: EngineVersion) -> Check:
    ggml = f", ggml {version.ggml}" if version.ggml else ""
    if older_than_required(version.package):
        return Check(
            name="engine",
            state="improve",
            detail=f"{installed.identity} is older than what slm-advisor was written for ({REQUIREMENT})",
            advice=_INSTALL,
        )
    return Check(name="engine", state="ok", detail=f"{installed.identity}{ggml}")


def _worker(taken_s: float) -> Check:
    return Check(name="worker", state="ok", detail=f"starts and answers in {taken_s:.1f} s")


def _build_tools(plan: BuildPlan) -> Iterator[Check]:
    for missing in plan.missing:
        yield Check(
            name="build tools",
            state="improve",
            detail=f"to build the engine there must first be {missing.what}",
            advice=missing.install,
        )


def _test_run(engine: Engine, version: EngineVersion) -> Check:
    try:
        failure = run_tiny(engine, version)
    except (QuantizeError, OSError) as error:  # no room on the disk
        return Check(name="test run", state="unknown", detail=str(error))
    if failure is None:
        where = "on the GPU" if gpu_backends(version) else "on the processor"
        return Check(name="test run", state="ok", detail=f"a tiny model runs {where}")
    return Check(name="test run", state="failed", detail=failure.message, advice=f"{_INSTALL} --force")


def run_tiny(engine: Engine, version: EngineVersion) -> EngineFailure | None:
    """Load and run a made-up model of half a megabyte as `bench` would: 64 tokens in, 4 out. What went wrong.

    Raises QuantizeError or OSError where the model cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="slm-advisor-") as folder:
        failure = _run(engine, Path(folder, "tiny.gguf"), -1 if gpu_backends(version) else 0)
    if failure is None:
        return None
    return msgspec.structs.replace(failure, message=f"a tiny model does not run: {failure.message}")


def _run(engine: Engine, path: Path, gpu_layers: int) -> EngineFailure | None:
    matrices = {tensor.name for tensor in tensors(_TINY) if len(tensor.shape) > 1}
    blocks = engine.sample_blocks((_TINY_TYPE,), SAMPLE_BLOCKS)
    if isinstance(blocks, EngineFailure):
        return blocks
    write_synthetic(_TINY, dict.fromkeys(matrices, _TINY_TYPE), path, blocks.data)
    for reply in (
        engine.load_model(LoadModel(str(path), gpu_layers=gpu_layers)),
        engine.open_context(OpenContext(n_ctx=_TINY.context_length or 0)),
        engine.run_test(RunTest(n_prompt=64, n_gen=4)),
    ):
        if isinstance(reply, EngineFailure):
            return reply
    return None


# --- the build ------------------------------------------------------------------------------------------------


def build_checks(
    device: Device, tools: Toolchain, plan: BuildPlan, installed: InstalledEngine, version: EngineVersion
) -> Iterator[Check]:
    """Whether the build uses what the processor and the GPU offer. Starts nothing."""
    yield _processor(device, tools, version)
    cpu = engine_features(version).get("CPU", {})
    if "OPENMP" not in cpu and device.platform.system == "linux" and cpu:
        yield Check(
            name="threads",
            state="improve",
            detail="built without OpenMP: llama.cpp's own threads take longer to meet after each step",
            advice=f"install libgomp (it comes with gcc), then: {_INSTALL} --force",
        )
    yield from _gpu(device, plan, installed, version)


def _processor(device: Device, tools: Toolchain, version: EngineVersion) -> Check:
    if has_tiles(version):
        return Check(
            name="processor",
            state="improve",
            detail="built with kernels for AMX, which abort or compute wrongly for some models",
            advice=_INSTALL,
        )
    unused = unused_features(device, version)
    compiled = engine_features(version).get("CPU", {})
    used = ", ".join(name for name in FEATURES.values() if name in compiled)
    if unused is None:
        return Check(
            name="processor",
            state="unknown",
            detail=f"the build uses {used or 'unknown features'}; what this processor has could not be read",
        )
    if not unused:
        return Check(name="processor", state="ok", detail=f"the build uses all it has: {used}")
    too_new = [feature for feature in unused if not emitted_by(tools.compiler, feature)]
    advice = _INSTALL
    if too_new and tools.compiler is not None:
        first = f"install a newer compiler ({tools.compiler.family} {tools.compiler.major} lacks "
        advice = f"{first}{', '.join(too_new)}), then: {_INSTALL} --force"
    return Check(
        name="processor",
        state="improve",
        detail=f"the build does not use {', '.join(unused)}, which this processor has",
        advice=advice,
    )


def _gpu(
    device: Device, plan: BuildPlan, installed: InstalledEngine, version: EngineVersion
) -> Iterator[Check]:
    seen = gpu_backends(version)
    wanted = plan.better or plan
    if not device.accelerators and not seen:
        return
    names = ", ".join(dict.fromkeys(a.name or "a GPU" for a in device.accelerators)) or "the GPU"
    if wanted.backend in seen or (seen and wanted.backend == "cpu"):
        used = ", ".join(
            f"{d.description} by {d.backend}" for d in version.devices if d.kind in ("gpu", "igpu")
        )
        yield _gpu_generations(device, version) or Check(
            name="GPU", state="ok", detail=f"the engine uses {used}"
        )
        return
    if wanted.backend == "cpu":
        yield Check(
            name="GPU", state="ok", detail=f"not used, nor needed: {'; '.join(plan.reasons[1:]) or names}"
        )
        return
    if wanted.backend in compiled_backends(installed):
        yield Check(
            name="GPU",
            state="improve",
            detail=f"the build has {wanted.backend}, and yet it sees no GPU ({names} is here)",
            advice="look after the driver, the rights on /dev (group render), and the container's devices",
        )
        return
    how = f"used only by {', '.join(seen)}; {wanted.backend} is faster" if seen else "not used"
    first = "".join(f"{missing.install}; " for missing in wanted.missing)
    lacking = "; ".join(missing.what for missing in wanted.missing)
    yield Check(
        name="GPU",
        state="improve",
        detail=f"{names} is {how}" + (f"; a build with {wanted.backend} needs {lacking}" if lacking else ""),
        advice=f"{first}then: {_INSTALL}" if first else _INSTALL,
    )


def _gpu_generations(device: Device, version: EngineVersion) -> Check | None:
    """A card newer than the CUDA code in the build runs code compiled for older ones, if at all."""
    built = engine_features(version).get("CUDA", {}).get("ARCHS", "")
    newest = max((int(arch) for arch in built.split(",") if arch.isdigit()), default=0)
    for accelerator in device.accelerators:
        major, _, minor = (accelerator.compute_capability or "").partition(".")
        if newest and major.isdigit() and minor.isdigit() and int(major) * 100 + int(minor) * 10 > newest:
            return Check(
                name="GPU",
                state="improve",
                detail=f"compiled for compute capability {newest // 100}.{newest // 10 % 10} at most; "
                f"{accelerator.name or 'this card'} has {accelerator.compute_capability}",
                advice=f"{_INSTALL} --force",
            )
    return None


# --- around the engine ----------------------------------------------------------------------------------------


def _surroundings(device: Device) -> Iterator[Check]:
    free, path = device.storage.temporary_free_bytes, device.storage.temporary_path
    if free is None:
        yield Check(name="temporary files", state="unknown", detail="the free space could not be read")
    elif free < _TEMPORARY_BYTES:
        yield Check(
            name="temporary files",
            state="improve",
            detail=f"{amount(free)} free at {path}: too little to probe models of 3B and more",
            advice="free some space, or set TMPDIR to a folder with more",
        )
    else:
        yield Check(name="temporary files", state="ok", detail=f"{amount(free)} free at {path}")
    limit, total = device.memory.limit_bytes, device.memory.total_bytes
    if limit is not None and total is not None and limit < total:
        yield Check(
            name="memory limit",
            state="ok",
            detail=f"a control group allows {amount(limit)} of {amount(total)}; estimates keep to it",
        )
    yield _power(device)


def _power(device: Device) -> Check:
    from profiles.machine import Machine

    governor = Machine().read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    driver = Machine().read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver") or ""
    if device.power.source == "battery":
        return Check(
            name="power",
            state="improve",
            detail="on battery: most devices run slower than on mains, and measurements show that",
            advice="plug it in before measuring",
        )
    # intel_pstate and amd-pstate choose the clock themselves; "powersave" is their ordinary setting.
    if governor == "powersave" and "pstate" not in driver:
        return Check(
            name="power",
            state="improve",
            detail="the clock governor is 'powersave': the processor stays at its lowest clock",
            advice="echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        )
    if governor is None and device.power.source is None:
        return Check(
            name="power", state="unknown", detail="neither power source nor clock governor is shown here"
        )
    known = [
        f"on {device.power.source}" if device.power.source else "",
        f"governor {governor}" if governor else "",
    ]
    return Check(name="power", state="ok", detail=", ".join(filter(None, known)))


def _calibration(device: Device, installed: InstalledEngine) -> Check:
    loaded = load_calibration(fingerprint(device), installed.identity)
    if loaded.calibration is not None:
        return Check(name="calibration", state="ok", detail="made on this device with this engine")
    return Check(
        name="calibration",
        state="improve",
        detail=loaded.problem or "none yet: speeds are estimated from data sheets",
        advice="slm-advisor calibrate",
    )
