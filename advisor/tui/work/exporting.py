"""Pinning the chosen deployment and writing what other programs need, as `slm-advisor pin` and `export` do it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from textual.message import Message

from advisor.language import _
from advisor.tui.messages import DeploymentPinned, ExportsWritten, PinningFailed
from advisor.tui.state import Built, Problem, Ranking
from advisor.tui.work.calibrating import in_words

if TYPE_CHECKING:
    from advisor.candidates import Candidate
    from advisor.export import Export
    from advisor.manifest import DeploymentManifest

Post = Callable[[Message], object]

MANIFEST = "manifest"


class Pinned(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment manifest, as it is written and in words, and a file for each program.

    `obstacle` says why there are no files for programs.
    """

    manifest: DeploymentManifest
    content: bytes
    text: str
    exports: tuple[Export, ...] = ()
    obstacle: str | None = None

    def of(self, way: str) -> Export | None:
        """The file for a program."""
        return next((one for one in self.exports if one.program == way), None)


def pin_here(ranking: Ranking, candidate: Candidate, built: Built | None, post: Post) -> None:
    """The manifest of a deployment, with what the need asks for as what must hold."""
    from advisor.errors import AdvisorError
    from profiles.errors import ProfilesError
    from quantize.errors import QuantizeError

    try:
        answer: Message = DeploymentPinned(_pin(ranking, candidate, built))
    except (AdvisorError, ProfilesError, QuantizeError, OSError) as error:
        answer = PinningFailed(Problem(in_words(error)))
    post(answer)


def _pin(ranking: Ranking, candidate: Candidate, built: Built | None) -> Pinned:
    from advisor.catalog import catalog_version
    from advisor.cli.output import tool_version
    from advisor.errors import InvalidInputError
    from advisor.export import PROGRAMS, export
    from advisor.gate import Limits
    from advisor.manifest import decode_manifest, encode_manifest
    from advisor.pin import find_model, make_manifest, requirements, with_build
    from advisor.report.manifest_text import manifest_text

    here = ranking.found.here
    found = find_model(candidate.model, candidate.variant.quant, ranking.target, ranking.workload, here=here)
    if built is not None:
        found = with_build(found, built.manifest, built.folder)
    manifest = make_manifest(
        found,
        requirements(found.workload, Limits(), None),
        tool_version=tool_version(),
        catalog_version=catalog_version(),
    )
    content = encode_manifest(manifest)
    manifest = decode_manifest(content, manifest.label)
    text = manifest_text(manifest)
    try:
        exports = tuple(export(manifest, program) for program in PROGRAMS)
    except InvalidInputError as error:
        return Pinned(manifest=manifest, content=content, text=text, obstacle=str(error))
    return Pinned(manifest=manifest, content=content, text=text, exports=exports)


def write_here(pinned: Pinned, ways: Sequence[str], folder: Path, replace: bool, post: Post) -> None:
    """Write the manifest, files for programs, or both; each appears whole, and none where one is in the way."""
    from advisor.errors import AdvisorError, InvalidInputError
    from advisor.export import write_exports
    from advisor.manifest import FILE_NAME
    from advisor.signing import signature_path
    from profiles.data_folder import write_whole

    exports = [one for one in pinned.exports if one.program in ways]
    paths = [folder / one.name for one in exports]
    path = folder / FILE_NAME
    try:
        if MANIFEST in ways and path.exists() and not replace and path.read_bytes() != pinned.content:
            raise InvalidInputError(_("{path} is there already, with other content").format(path=path))
        write_exports(exports, folder, replace=replace)
        if MANIFEST in ways:
            signature_path(path).unlink(missing_ok=True)  # of the manifest that was here
            write_whole(path, pinned.content)
            paths.insert(0, path)
    except (AdvisorError, OSError) as error:
        post(ExportsWritten((), Problem(in_words(error))))
        return
    post(ExportsWritten(tuple(paths)))
