"""What `slm-advisor doctor --json` prints: the structs are the schema."""

from __future__ import annotations

import msgspec

from advisor.doctor import Check, Diagnosis
from profiles.engine.build import BuildPlan
from profiles.engine.build_backends import Missing
from profiles.engine.fit import engine_features
from profiles.engine.protocol import EngineDevice


class EngineView(msgspec.Struct, frozen=True, kw_only=True):
    """The engine that is installed. What only it can say is null or empty where it does not answer."""

    identity: str
    version: str
    folder: str
    ggml: str | None
    features: dict[str, dict[str, str]]  # by backend, as the engine names them
    devices: tuple[EngineDevice, ...]


class BuildView(msgspec.Struct, frozen=True, kw_only=True):
    """A way to build the engine. It can be run when `missing` is empty."""

    backend: str
    command: str  # for a POSIX shell
    cmake_args: tuple[str, ...]
    environment: dict[str, str]
    reasons: tuple[str, ...]
    missing: tuple[Missing, ...]
    jobs: int
    minutes_low: float
    minutes_high: float
    disk_bytes: int


class DoctorDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`build` is the build that suits this device now; `better_build` one that lacks something first."""

    device: str | None
    engine: EngineView | None
    checks: tuple[Check, ...]
    fits: bool  # `build` would gain nothing over the engine that is there
    build: BuildView
    better_build: BuildView | None
    exit_code: int


def doctor_document(diagnosis: Diagnosis, device: str | None) -> DoctorDocument:
    """The document of a diagnosis."""
    better = diagnosis.plan.better
    return DoctorDocument(
        device=device,
        engine=_engine(diagnosis),
        checks=diagnosis.checks,
        fits=diagnosis.fits,
        build=_build(diagnosis.plan),
        better_build=None if better is None else _build(better),
        exit_code=diagnosis.exit_code,
    )


def _engine(diagnosis: Diagnosis) -> EngineView | None:
    installed, version = diagnosis.installed, diagnosis.version
    if installed is None:
        return None
    return EngineView(
        identity=installed.identity,
        version=installed.version,
        folder=installed.folder,
        ggml=None if version is None else version.ggml,
        features={} if version is None else engine_features(version),
        devices=() if version is None else version.devices,
    )


def _build(plan: BuildPlan) -> BuildView:
    return BuildView(
        backend=plan.backend,
        command=plan.command,
        cmake_args=plan.cmake_args,
        environment=plan.environment,
        reasons=plan.reasons,
        missing=plan.missing,
        jobs=plan.jobs,
        minutes_low=plan.minutes[0],
        minutes_high=plan.minutes[1],
        disk_bytes=plan.disk_bytes,
    )
