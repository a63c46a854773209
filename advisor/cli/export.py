"""`slm-advisor export`: what other programs need to run a pinned deployment."""

from __future__ import annotations

from pathlib import Path

import click

from advisor.cli.options import json_option
from advisor.cli.output import narrate, write_json, write_text


@click.command(
    epilog="Examples:  slm-advisor export gemma-3-4b-it-Q4_K_M/deployment.json --ollama\n\n"
    "slm-advisor export deployment.json --llama-server --env --out /srv/model"
)
@click.argument("manifest", type=click.Path(exists=True, path_type=Path))
@click.option("--ollama", "programs", flag_value="ollama", multiple=True, help="A Modelfile.")
@click.option(
    "--llama-server", "programs", flag_value="llama-server", multiple=True, help="A script that starts it."
)
@click.option(
    "--lm-studio",
    "programs",
    flag_value="lm-studio",
    multiple=True,
    help="A script that imports and loads it.",
)
@click.option(
    "--env", "programs", flag_value="env", multiple=True, help="Variables for llama-server in a container."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the model file is or will be.  [beside the manifest]",
)
@click.option("--replace", is_flag=True, help="Write over files that are there.")
@json_option
def export(manifest: Path, programs: tuple[str, ...], out: Path | None, replace: bool, as_json: bool) -> None:
    """Write what Ollama, llama-server or LM Studio need to run a deployment as it was pinned.

    The files name the model file without a folder and belong beside it. With --json nothing is written: the document
    holds their contents.
    """
    import msgspec

    from advisor.export import Program, write_exports
    from advisor.export import export as export_for
    from advisor.manifest import read_manifest
    from advisor.report.export_documents import ExportDocument

    if not programs:
        raise click.UsageError(
            "say for which program: --ollama, --llama-server, --lm-studio or --env",
            click.get_current_context(),
        )
    pinned = read_manifest(manifest)
    exports = tuple(
        export_for(pinned, msgspec.convert(program, Program)) for program in dict.fromkeys(programs)
    )
    if as_json:
        write_json("export", ExportDocument(deployment=pinned.label, exports=exports))
        return
    folder = out or (manifest if manifest.is_dir() else manifest.parent)
    write_exports(exports, folder, replace=replace)
    for one in exports:
        write_text(f"{folder / one.name}\n  run  {one.run}\n")
        for text in one.left_out:
            write_text(f"  not in it: {text}\n")
    if pinned.file is not None and not (folder / pinned.file.name).exists():
        narrate(f"slm-advisor: {pinned.file.name} is not in {folder} yet: the files expect it there")
