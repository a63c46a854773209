"""Building a variant here, as `slm-advisor build` does it. What goes wrong is posted, not raised."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from textual.message import Message

from advisor.language import _
from advisor.tui.messages import BuildDone, BuildFailed, BuildPlanned, BuildProgress
from advisor.tui.state import Built, Problem
from advisor.tui.work.failing import in_words
from profiles.engine.stop import Stop

if TYPE_CHECKING:
    from advisor.build import BuildOptions
    from advisor.candidates import Candidate
    from advisor.preflight import Preflight
    from quantize.build import Order
    from quantize.build_steps import Progress

Post = Callable[[Message], object]

EVERY_S = 0.1


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What would be built and what that needs; `obstacle` says why it cannot be."""

    order: Order
    needs: Preflight
    obstacle: str | None = None


def plan_here(candidate: Candidate, options: BuildOptions, stop: Stop, post: Post) -> None:
    """Find the source and what the build needs; nothing is downloaded."""

    def run() -> Message:
        from advisor.build import make_order
        from advisor.cli.output import tool_version
        from advisor.measured_speed import known_speeds_of
        from advisor.preflight import check_preflight, preflight
        from advisor.target import make_target
        from advisor.workload import make_workload
        from profiles.resolve import resolve_device
        from quantize.errors import NoRoomError, TooLittleMemoryError
        from quantize.gguf import make_recipe
        from quantize.workspace import check_free

        # A build for another device is made here, and takes this machine's time and memory.
        device = resolve_device(None)
        target = make_target(device, make_workload(), strict=False, known_speeds=known_speeds_of(device))
        with stop.engine() as engine:
            order = make_order(
                candidate.model,
                make_recipe(candidate.variant.quant),
                options,
                engine,
                tool_version=tool_version(),
            )
            check_free(order.target, replace=order.replace)
            needs = preflight(order, candidate.model, target, engine)
        try:
            check_preflight(needs, order)
        except (NoRoomError, TooLittleMemoryError) as error:
            return BuildPlanned(Plan(order=order, needs=needs, obstacle=str(error)))
        return BuildPlanned(Plan(order=order, needs=needs))

    _guarded(run, stop, post)


def build_here(order: Order, stop: Stop, post: Post) -> None:
    """Build it. When it is stopped or fails, nothing is left of it."""
    told = 0.0
    last: Progress | None = None

    def report(progress: Progress) -> None:
        nonlocal told, last
        stop.check()
        now = time.monotonic()
        whole = progress.total is not None and progress.done >= progress.total
        if last is None or last.stage != progress.stage or whole or now - told >= EVERY_S:
            told = now
            post(BuildProgress(progress))
        last = progress

    def run() -> Message:
        from quantize.build import build

        with stop.engine() as engine:
            manifest = build(order, engine, report=report)
        return BuildDone(order.target, manifest)

    _guarded(run, stop, post)


def find_built(folder: Path) -> Built | None:
    """The finished build in a folder, None where there is none that can be read."""
    from quantize.errors import InvalidModelError
    from quantize.manifest import read_manifest

    try:
        manifest = read_manifest(folder)
    except InvalidModelError:
        return None
    built = Built(folder, manifest)
    return built if manifest.files and built.file.is_file() else None


def _guarded(run: Callable[[], Message], stop: Stop, post: Post) -> None:
    from advisor.errors import AdvisorError
    from profiles.errors import ProfilesError
    from quantize.errors import HubError, QuantizeError

    try:
        answer = run()
    except (AdvisorError, ProfilesError, QuantizeError, OSError) as error:
        words = in_words(error)
        if isinstance(error, HubError):
            words += "\n" + _(
                "Try again later: a download goes on where it ended. Or f takes a file or folder that is here."
            )
        answer = BuildFailed(None if stop.stopped else Problem(words))
    post(answer)
