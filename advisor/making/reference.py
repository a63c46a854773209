"""`make reference`: docs/reference/command-line.md, written from the help of every command."""

from __future__ import annotations

from pathlib import Path

import click

from advisor.cli.main import cli

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "command-line.md"


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")


def page() -> str:
    """The whole page: the help of the program and of every command, 80 columns wide."""
    parts = ["# Command line\n\nWritten by `make reference` from the program's own help.\n"]
    parts += _section(cli, "slm-advisor", None)
    return "\n".join(parts)


def _section(command: click.Command, name: str, parent: click.Context | None) -> list[str]:
    settings = {**command.context_settings, "terminal_width": 80, "max_content_width": 80}
    context = click.Context(command, parent, info_name=name, **settings)
    parts = [f"## {context.command_path}\n\n```text\n{command.get_help(context).rstrip()}\n```\n"]
    if isinstance(command, click.Group):
        for child_name in command.list_commands(context):
            child = command.get_command(context, child_name)
            if child is not None:
                parts += _section(child, child_name, context)
    return parts


if __name__ == "__main__":
    main()
