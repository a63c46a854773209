"""`doctor` looks at the engine; `engine install` builds it for this device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from advisor.cli.options import json_option
from advisor.cli.output import narrate, write_json, write_text
from advisor.cli.status import StatusLine

if TYPE_CHECKING:
    from profiles.engine.build import BuildPlan
    from profiles.engine.install import Progress
    from profiles.engine.protocol import EngineVersion

_LINE_EVERY_S = 30.0  # of a log file


@click.command(epilog="Example: slm-advisor doctor --json")
@json_option
def doctor(as_json: bool) -> int:
    """Say whether the engine is there, works, and uses what this processor and GPU offer.

    Exit code 0: it works (and may say how to make it faster). 3: a check failed, the engine is broken. 5: there is
    no engine.
    """
    from advisor.doctor import examine
    from profiles.detect import detect
    from profiles.engine.toolchain import find_toolchain

    device = detect()
    diagnosis = examine(device, find_toolchain())
    if as_json:
        from advisor.report.doctor_documents import doctor_document

        write_json("doctor", doctor_document(diagnosis, device.name))
    else:
        from advisor.report.doctor_text import diagnosis_text

        write_text(diagnosis_text(diagnosis))
    return diagnosis.exit_code


@click.group(epilog="Example: slm-advisor engine install --dry-run")
def engine() -> None:
    """llama.cpp, by way of llama-cpp-python: what runs the models."""


@engine.command(epilog="Example: slm-advisor engine install --backend vulkan --dry-run")
@click.option(
    "--backend",
    type=click.Choice(["auto", "cpu", "cuda", "metal", "vulkan", "hip", "sycl"]),
    default="auto",
    show_default=True,
    help="What to build it for; auto takes the best that can be built now.",
)
@click.option("--dry-run", is_flag=True, help="Print the command and the reasons, and do nothing.")
@click.option("--force", is_flag=True, help="Build it even if the one that is there is as good.")
def install(backend: str, dry_run: bool, force: bool) -> None:
    """Build the engine for this device and install it beside slm-advisor.

    It is compiled from source, tried, and only then put in the place of the old one. CMAKE_ARGS and
    CMAKE_BUILD_PARALLEL_LEVEL in the environment are passed on.
    """
    from advisor.report.doctor_text import plan_text
    from profiles.detect import detect
    from profiles.engine.build import plan_build
    from profiles.engine.client import Engine
    from profiles.engine.fit import suits
    from profiles.engine.installed import installed_engine
    from profiles.engine.protocol import EngineVersion
    from profiles.engine.toolchain import find_toolchain

    device, tools, installed = detect(), find_toolchain(), installed_engine()
    plan = plan_build(device, tools, backend, replaces=installed is not None)  # type: ignore[arg-type]
    before: EngineVersion | None = None
    if installed is not None:
        with Engine() as worker:
            answer = worker.version()
        before = answer if isinstance(answer, EngineVersion) else None
        if before and not force and suits(plan, device, before, installed, tools.compiler):
            write_text(
                f"Nothing to do: {installed.identity} uses what this device offers"
                f"{'' if plan.better is None else ' with the tools that are here'}. --force builds it again.\n"
            )
            if plan.better is not None:
                write_text("\n" + plan_text(plan))
            return
    if dry_run:
        write_text(plan_text(plan))
        return
    narrate(plan_text(plan))
    _install(plan, before)


def _install(plan: BuildPlan, before: EngineVersion | None) -> None:
    from advisor.doctor import run_tiny
    from advisor.errors import ComponentMissingError
    from profiles.engine.install import install

    if plan.missing:
        raise ComponentMissingError(
            f"the engine cannot be built with {plan.backend} yet; first: "
            + "; ".join(f"{missing.what} ({missing.install})" for missing in plan.missing)
        )
    line, phase = StatusLine(_LINE_EVERY_S), ""

    def show(progress: Progress) -> None:
        nonlocal phase
        count = f" {progress.done}/{progress.total}" if progress.total else ""
        text = f"{progress.phase}{count}, {_clock(progress.elapsed_s)}"
        line.show(text, milestone=progress.phase != phase)
        phase = progress.phase

    try:
        after = install(plan, show, run_tiny)
    finally:
        line.end()
    write_text(_changes(before, after))


def _changes(before: EngineVersion | None, after: EngineVersion) -> str:
    """What the new engine has that the old one had not, and the other way round."""
    from profiles.engine.fit import engine_features
    from profiles.engine.installed import installed_engine

    def features(version: EngineVersion | None) -> set[str]:
        if version is None:
            return set()
        return {f"{backend} {name}" for backend, names in engine_features(version).items() for name in names}

    installed = installed_engine()
    lines = [f"Installed {installed.identity if installed else after.package}."]
    if before is None:
        lines.append("It uses " + ", ".join(sorted(features(after))))
    else:
        gained, lost = features(after) - features(before), features(before) - features(after)
        lines += [f"Before: {before.package}."] if before.package != after.package else []
        lines += [f"New: {', '.join(sorted(gained))}"] if gained else []
        lines += [f"Gone: {', '.join(sorted(lost))}"] if lost else []
        lines += ["It can do what the old one could."] if not gained and not lost else []
    lines += [f"Device: {device.name}, {device.description} ({device.backend})" for device in after.devices]
    return "\n".join(lines) + "\n"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
