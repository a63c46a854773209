"""`slm-advisor tui`, which is also what `slm-advisor` alone does on a terminal."""

from __future__ import annotations

import sys

import click

from advisor.language import LANGUAGES

language_option = click.option(
    "--lang", type=click.Choice(list(LANGUAGES)), help="Language of the wizard; without it, the locale's."
)


@click.command(epilog="Example: slm-advisor tui --device 'Pixel 9' --lang ja")
@language_option
@click.option("--device", metavar="NAME|FILE.json", help="Begin with this device instead of this machine.")
def tui(lang: str | None, device: str | None) -> int:
    """Open the wizard: device, need, models, try, build, export, a screen each. It needs a terminal."""
    if not on_terminal():
        raise click.UsageError(
            "the wizard needs a terminal for input and output; 'slm-advisor recommend' answers without one",
            click.get_current_context(),
        )
    from advisor.tui import run

    return run(language=lang, device=device)


def on_terminal() -> bool:
    """Whether somebody sits at a terminal, to read and to type."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))
