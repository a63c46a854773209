"""A calibration as a document and as text of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

import msgspec

from advisor.calibration_effect import Effect
from profiles.calibration import BackendCalibration, Calibration
from profiles.text import rate, seconds

WIDTH = 80


class CalibrationDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What `calibrate --json` prints: the calibration, where it is kept, and what it changes."""

    device: str | None
    calibration: Calibration
    path: str
    effect: tuple[Effect, ...]


def as_text(document: CalibrationDocument) -> str:
    """What was found, and what it changes."""
    own = document.calibration
    lines = [f"Calibrated {document.device or 'this device'} in {seconds(own.seconds)} for {own.engine}", ""]
    for backend in own.backends:
        lines += [*_backend(backend), ""]
    for note in (*own.noise, *own.notes):
        lines += wrap(note, WIDTH, subsequent_indent="  ")
    lines += [*_effects(document.effect), "", f"Kept in {document.path}"]
    return "\n".join(lines) + "\n"


def _backend(own: BackendCalibration) -> Iterator[str]:
    prompts = "" if own.threads == own.threads_batch else f", {own.threads_batch} for prompts"
    yield f"{own.backend.upper()}: fastest with {_threads(own.threads)}{prompts}"
    yield f"  beside its weights a token takes {own.token_s * 1e3:.2f} ms and each block {own.block_s * 1e6:.0f} us"
    for kind in own.kinds:
        yield f"  a block with {kind.kind} takes {kind.block_s * 1e6:.0f} us more"
    if own.by_threads:
        yield ""
        yield "  threads   bandwidth GB/s   generate, of best   prompt, of best"
        best_tg = max(each.tg_tokens_per_s for each in own.by_threads)
        best_pp = max(each.pp_tokens_per_s for each in own.by_threads)
        for each in own.by_threads:
            bandwidth = f"{each.bandwidth_bytes_per_s / 1e9:.1f}" if each.bandwidth_bytes_per_s else "-"
            yield (
                f"  {each.threads:>7}{bandwidth:>17}{each.tg_tokens_per_s / best_tg:>20.0%}"
                f"{each.pp_tokens_per_s / best_pp:>18.0%}"
            )
    yield ""
    yield "  type      generate GB/s   prompt G weights/s"
    for kind_ in own.types:
        if kind_.derived_from is None:
            yield (
                f"  {kind_.type:<8}{kind_.decode_bytes_per_s / 1e9:>15.1f}"
                f"{kind_.prompt_weights_per_s / 1e9:>21.0f}"
            )
    others = [kind_.type for kind_ in own.types if kind_.derived_from is not None]
    if others:
        yield from wrap("derived: " + ", ".join(others), WIDTH, initial_indent="  ", subsequent_indent="    ")


def _effects(effects: tuple[Effect, ...]) -> Iterator[str]:
    if not effects:
        return
    yield ""
    yield "What changes (tokens/s, 512 tokens of prompt, 128 to answer)"
    yield f"  {'':<34}{'generate':^21}{'prompt':^21}"
    for each in effects:
        name = f"{each.model} {each.quant}"
        if len(name) > 33:
            name = name[:31] + ".."
        tg = f"{rate(each.tg_before.value)} -> {rate(each.tg_after.value)}"
        pp = f"{rate(each.pp_before.value)} -> {rate(each.pp_after.value)}"
        where = "" if each.backend == "cpu" else f" {each.backend}"
        yield f"  {name:<34}{tg:^21}{pp:^21}{where}".rstrip()


def _threads(n: int) -> str:
    return f"{n} thread{'s' if n != 1 else ''}"
