"""Does the engine's build use what the processor and the GPU offer? Compares a `Device` with what the engine says."""

from __future__ import annotations

from pathlib import Path

from profiles.device import Device
from profiles.engine.build import REQUIREMENT, BuildPlan
from profiles.engine.build_facts import COMPILER_SINCE, FEATURES, REGISTRIES
from profiles.engine.installed import InstalledEngine
from profiles.engine.protocol import EngineVersion
from profiles.engine.toolchain import Compiler


def engine_features(version: EngineVersion) -> dict[str, dict[str, str]]:
    """What each backend says it was compiled with: {"CPU": {"AVX2": "1"}, "CUDA": {"ARCHS": "890"}}.

    The engine's line reads "CPU : AVX = 1 | AVX2 = 1 | CUDA : ARCHS = 890 | USE_GRAPHS = 1 |".
    """
    backends: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for part in version.features.split("|"):
        name, colon, rest = part.partition(" : ")
        if colon:
            current = backends.setdefault(name.strip(), {})
        feature, equals, value = (rest if colon else part).partition("=")
        if equals:
            current[feature.strip()] = value.strip()
    return backends


def unused_features(device: Device, version: EngineVersion) -> tuple[str, ...] | None:
    """Kernel features the processor has and the build does not use, by the engine's names. None: not known."""
    compiled = engine_features(version).get("CPU")
    if device.cpu.isa is None or compiled is None:
        return None
    offered = (FEATURES[name] for name in device.cpu.isa if name in FEATURES)
    return tuple(name for name in offered if name not in compiled)


def has_tiles(version: EngineVersion) -> bool:
    """Whether the build has the kernels for AMX, which are not to be relied on (build.py says why)."""
    return "AMX_INT8" in engine_features(version).get("CPU", {})


def emitted_by(compiler: Compiler | None, feature: str) -> bool:
    """Whether a compiler knows the instructions of a kernel feature; one that is not known is given the credit."""
    if compiler is None:
        return True
    return compiler.major >= COMPILER_SINCE.get(compiler.family, {}).get(feature, 0)


def gpu_backends(version: EngineVersion) -> tuple[str, ...]:
    """Our names of the backends through which the engine sees a GPU now: "cuda", "metal", …"""
    found = (device for device in version.devices if device.kind in ("gpu", "igpu"))
    return tuple(dict.fromkeys(REGISTRIES.get(device.backend, device.backend.lower()) for device in found))


def compiled_backends(engine: InstalledEngine) -> frozenset[str]:
    """Backends that are in the build, whether or not a device answers: each is a library of its own."""
    names = [entry.name for entry in Path(engine.folder).glob("*ggml-*")]
    return frozenset(
        backend for backend in REGISTRIES.values() if any(f"ggml-{backend}." in name for name in names)
    )


def suits(
    plan: BuildPlan,
    device: Device,
    version: EngineVersion,
    engine: InstalledEngine,
    compiler: Compiler | None,
) -> bool:
    """Whether building by `plan` would gain nothing over the engine that is there."""
    if plan.backend != "cpu" and plan.backend not in compiled_backends(engine):
        return False
    if older_than_required(version.package) or has_tiles(version):
        return False
    return not any(emitted_by(compiler, feature) for feature in unused_features(device, version) or ())


def older_than_required(version: str) -> bool:
    """Whether a version of llama-cpp-python is older than `build.REQUIREMENT`; one that cannot be read is not."""

    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(".") if part.isdigit()]

    return bool(numbers(version)) and numbers(version) < numbers(REQUIREMENT.partition(">=")[2])
