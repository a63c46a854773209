"""`slm-advisor fidelity`: what a quantization changed, measured, and a gate on it."""

from __future__ import annotations

from pathlib import Path

import click

from advisor.cli.options import json_option, share
from advisor.cli.output import write_json, write_text
from advisor.cli.status import StatusLine


@click.command(
    epilog="Examples:  slm-advisor fidelity model-Q4_K_M.gguf model-F16.gguf\n\n"
    "slm-advisor fidelity built.gguf source.gguf --text my-domain.txt --max-kld 0.05 --min-same-top 90%"
)
@click.argument("built", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("reference", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--text",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="UTF-8 text to predict; without it, a text of English, Japanese and code that ships with the program.",
)
@click.option(
    "--context",
    type=click.IntRange(64, 1 << 20),
    default=512,
    show_default=True,
    help="Tokens of a chunk; the second half of each is predicted.",
)
@click.option("--chunks", type=click.IntRange(2), metavar="N", help="Read no more than N chunks of the text.")
@click.option("--threads", type=click.IntRange(1), metavar="N", help="CPU threads.")
@click.option("--max-kld", type=click.FloatRange(0), metavar="X", help="Largest mean KL divergence, in nats.")
@click.option("--max-ppl-increase", callback=share, metavar="X%", help="Largest increase of the perplexity.")
@click.option("--min-same-top", callback=share, metavar="X%", help="Least share of the same top token.")
@json_option
def fidelity(
    built: Path,
    reference: Path,
    text: Path | None,
    context: int,
    chunks: int | None,
    threads: int | None,
    max_kld: float | None,
    max_ppl_increase: float | None,
    min_same_top: float | None,
    as_json: bool,
) -> int:
    """Compare the predictions of BUILT with those of the REFERENCE it was made from.

    Perplexity, KL divergence and the share of the same top token, each with its standard error. Limits make it a
    gate: exit code 3 when one is broken, 4 when the measurement is too close to a limit to say.
    """
    from advisor.gate import Limits, gate_exit_code, judge
    from advisor.report.fidelity_report import FidelityDocument, fidelity_text
    from profiles.text import seconds
    from quantize.fidelity import measure_fidelity
    from quantize.texts import HELD_OUT

    limits = Limits(max_kld=max_kld, max_ppl_increase=max_ppl_increase, min_same_top=min_same_top)
    line = StatusLine()

    def show(done: int, total: int, elapsed_s: float) -> None:
        left = seconds(elapsed_s / done * (total - done))
        line.show(f"compared {done} of {total} chunks, {left} left")

    try:
        measured = measure_fidelity(
            built,
            reference,
            text or HELD_OUT,
            context=context,
            chunks=chunks,
            threads=threads,
            progress=show,
        )
    finally:
        line.end()
    document = FidelityDocument(
        built=str(built),
        reference=str(reference),
        fidelity=measured,
        limits=limits,
        verdicts=judge(measured, limits),
    )
    if as_json:
        write_json("fidelity", document)
    else:
        write_text(fidelity_text(document))
    return gate_exit_code(document.verdicts)
