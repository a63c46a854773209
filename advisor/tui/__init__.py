"""The terminal wizard: from a device to a tested deployment, without typing a command.

    app.py        the program: what is known, the keys that work everywhere, who is told what
    steps.py      the screens in their order
    state.py      what is known, frozen
    messages.py   what workers tell the program
    work/         one kind of work a file, each in a thread: loading, ranking, calibrating, trying
    screens/      one screen a file; widgets/ one widget a file, its style beside it

There is no domain logic here: the workers call what the command line calls. This is the only package that imports
Textual, and only `run` is called from outside.
"""

from __future__ import annotations


def run(*, language: str | None = None, device: str | None = None) -> int:
    """Open the wizard on this terminal and return the exit code; without a language, in that of the locale.

    Raises InvalidInputError where the working folder is gone, on which paths and what is written rest.
    """
    import sys
    from pathlib import Path

    from advisor import language as languages
    from advisor.errors import InvalidInputError
    from advisor.language import _

    languages.use(language or languages.preferred())
    try:
        Path.cwd()
    except OSError as error:
        raise InvalidInputError(
            _("the folder that this was started in is gone: change to another one, then start again")
        ) from error
    from advisor.tui import garbage
    from advisor.tui.app import Wizard

    # Ranking runs in a thread beside the screen: a key press shall not wait 5 ms each time it needs the interpreter.
    sys.setswitchinterval(0.001)
    garbage.collect_when_idle()
    app = Wizard(device=device)
    app.run()
    return app.return_code or 0
