"""The command line: commands that load when they are called, and one table from errors to exit codes.

Exit codes are part of the interface:

    0  done
    1  internal error
    2  bad input
    3  nothing satisfies the constraints, or a check failed
    4  not enough evidence to say
    5  a component is missing
    6  network
    130  interrupted
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from functools import partial
from typing import Any

import click

from advisor.cli.output import abandon_stdout, narrate, write_error

# name -> (module, attribute, one line for --help). The line stands here so that --help imports no command.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "tui": ("advisor.cli.tui", "tui", "Open the wizard; the same as no command on a terminal."),
    "recommend": ("advisor.cli.recommend", "recommend", "Rank the deployments that fit a device and a task."),
    "explain": ("advisor.cli.recommend", "explain", "Say why a model is, or is not, recommended."),
    "estimate": (
        "advisor.cli.estimate",
        "estimate",
        "Memory, speed and quality of one deployment, or of many.",
    ),
    "build": ("advisor.cli.build", "build", "Quantize a model here, and say what that cost."),
    "pin": ("advisor.cli.pin", "pin", "Pin one deployment, with what must hold where it runs."),
    "export": (
        "advisor.cli.export",
        "export",
        "Write what Ollama, llama-server or LM Studio need to run it.",
    ),
    "bench": ("advisor.cli.bench", "bench", "Run a model file here: speed, first token, memory."),
    "probe": ("advisor.cli.probe", "probe", "Time a model here without downloading it."),
    "calibrate": (
        "advisor.cli.calibrate",
        "calibrate",
        "Measure this device once, so that estimates fit it.",
    ),
    "ledger": ("advisor.cli.ledger", "ledger", "Show predictions beside what was measured here."),
    "verify": ("advisor.cli.verify", "verify", "Say whether a pinned deployment holds on this machine."),
    "profile": ("advisor.cli.device", "profile", "Show what this device is."),
    "devices": ("advisor.cli.device", "devices", "List, show and find the devices of the library."),
    "fidelity": ("advisor.cli.fidelity", "fidelity", "Measure what a quantization changed."),
    "catalog": ("advisor.cli.catalog", "catalog", "List, show, check and add models."),
    "doctor": ("advisor.cli.doctor", "doctor", "Say whether the engine is there and fits this device."),
    "engine": ("advisor.cli.doctor", "engine", "Build and install the engine for this device."),
    "schema": ("advisor.cli.schema", "schema", "Print the JSON Schema of an output."),
}


class ReaderGoneError(Exception):
    """A broken pipe under a name that click does not know: of its own accord it would exit with code 1."""


class LazyGroup(click.Group):
    """A click group that imports a command's module when the command is used."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGoneError from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return _with_offline(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, _, summary) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=3, cutoff=0.4)
            hint = f" Did you mean {' or '.join(near)}?" if near else " See 'slm-advisor --help'."
            raise click.UsageError(f"there is no command '{args[0]}'.{hint}", ctx)
        return super().resolve_command(ctx, args)


def _stay_offline(_: click.Context, __: click.Parameter, on: bool) -> None:
    if on:
        from profiles.offline import stay_offline

        stay_offline(True)


_OFFLINE = click.Option(
    ["--offline"],
    is_flag=True,
    expose_value=False,
    is_eager=True,  # before other options are looked at, which might connect
    callback=_stay_offline,
    help="Never touch the network (SLM_ADVISOR_OFFLINE=1 does the same).",
)


def _with_offline(command: click.Command) -> click.Command:
    """The command, which takes --offline as the program itself does: wherever the user writes it."""
    if _OFFLINE not in command.params:
        command.params.append(_OFFLINE)
        if isinstance(command, click.Group):
            for child in command.commands.values():
                _with_offline(child)
    return command


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: slm-advisor recommend --task chat --language ja --top 5",
)
@click.version_option(package_name="slm-advisor", prog_name="slm-advisor")
@click.option("--lang", type=click.Choice(["en", "ja"]), help="Language of the wizard, without a command.")
@click.pass_context
def cli(context: click.Context, lang: str | None) -> int | None:
    """Which small language model, at which quantization, with which settings, runs well on this device.

    Without a command, on a terminal, the wizard opens.
    """
    if context.invoked_subcommand is not None:
        if lang is not None:
            raise click.UsageError("--lang is for the wizard: commands answer in English", context)
        return None
    from advisor.cli.tui import on_terminal

    if not on_terminal():
        raise click.exceptions.NoArgsIsHelpError(context)
    from advisor.tui import run

    return run(language=lang)


cli.params.append(_OFFLINE)


def exit_code(error: BaseException) -> int | None:
    """The exit code of an error raised on purpose, or None for one that was not."""
    from advisor import errors as own
    from profiles import errors as device
    from quantize import errors as weights

    table: tuple[tuple[type[BaseException], int], ...] = (
        (own.InvalidInputError, 2),
        (own.NothingFitsError, 3),
        (own.NotEnoughEvidenceError, 4),
        (own.ComponentMissingError, 5),
        (own.ClusterError, 6),
        (weights.NoRoomError, 3),
        (weights.UnexpectedTensorsError, 3),
        (weights.TooLittleMemoryError, 4),
        (weights.GptqMissingError, 5),
        (weights.HubError, 6),
        (weights.ConverterMissingError, 5),
        (weights.ConverterDownloadError, 6),
        (weights.ConverterInstallError, 5),
        (device.EngineAbsentError, 5),
        (device.EngineTimeoutError, 4),
        (device.NoisyError, 4),
        (device.RemoteCommandError, 2),
        (device.RemoteMissingError, 5),
        (device.RemoteAnswerError, 4),
        (device.RemoteError, 6),
        (device.EngineDownloadError, 6),
        (device.EngineBuildError, 5),
        (weights.QuantizeError, 2),
        (device.ProfilesError, 2),
        (own.AdvisorError, 2),
    )
    for kind, code in table:
        if isinstance(error, kind):
            return code
    return None


def run(args: list[str] | None = None) -> int:
    """Run the command line and return its exit code; errors are reported here and nowhere else."""
    code = _run(args)
    if "advisor.catalog" in sys.modules:
        from advisor.catalog import load_catalog

        if load_catalog.cache_info().currsize:
            for problem in load_catalog().problems:
                narrate(f"slm-advisor: left out of the catalog: {problem}")
    return code


def _run(args: list[str] | None) -> int:
    arguments = sys.argv[1:] if args is None else args
    as_json = "--json" in arguments
    streamed = any(word == "--devices" or word.startswith("--devices=") for word in arguments)
    report = partial(write_error, as_json=as_json, one_line=streamed)
    try:
        result: Any = cli.main(args=arguments, prog_name="slm-advisor", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        if as_json:
            return report("no command was given", 2, usage=_usage(error))
        narrate(error.format_message())
        return 2
    except click.ClickException as error:
        return report(error.format_message(), 2, usage=_usage(error))
    except (click.Abort, KeyboardInterrupt):
        return report("interrupted", 130)
    except (ReaderGoneError, BrokenPipeError):
        # The reader has gone (`| head`): a clean end.
        abandon_stdout()
        return 0
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        said = report(f"{error.strerror or error}{where}", 3 if error.errno == errno.ENOSPC else 2)
        if error.filename is None:  # it was stdout: what is left in its buffer cannot be written either
            abandon_stdout()
        return said
    except Exception as error:
        code = exit_code(error)
        if code is not None:
            return report(str(error), code, nearest=getattr(error, "nearest", ()))
        if os.environ.get("SLM_ADVISOR_DEBUG"):
            raise
        message = f"internal error: {type(error).__name__}: {error} (SLM_ADVISOR_DEBUG=1 shows where)"
        return report(message, 1)
    return result if isinstance(result, int) else 0


def main() -> None:
    """Entry point of the `slm-advisor` command."""
    sys.exit(run())


def _usage(error: click.ClickException) -> str | None:
    context = getattr(error, "ctx", None)
    return f"Try '{context.command_path} --help'." if context is not None else None


if __name__ == "__main__":
    main()
