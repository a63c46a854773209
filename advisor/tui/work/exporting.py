"""Pinning the chosen deployment and writing what other programs need, as `slm-advisor pin` and `export` do it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from textual.message import Message

from advisor.language import _
from advisor.sentences import translated
from advisor.tui.messages import DeploymentPinned, ExportsWritten, PinningFailed, PinningProgress
from advisor.tui.state import Built, Problem, Ranking
from advisor.tui.work.failing import in_words
from profiles.engine.stop import Stop
from profiles.text import amount

if TYPE_CHECKING:
    from advisor.candidates import Candidate
    from advisor.export import Export
    from advisor.identify import ModelFile
    from advisor.manifest import DeploymentManifest
    from advisor.report.bench_documents import BenchDocument

Post = Callable[[Message], object]
Report = Callable[[int, int], None]

MANIFEST = "manifest"


class Pinned(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment manifest, as it is written and in words, and a file for each program.

    `file` is the model file it names; `obstacle` says why there are no files for programs.
    """

    manifest: DeploymentManifest
    content: bytes
    text: str
    file: Path | None = None
    exports: tuple[Export, ...] = ()
    obstacle: str | None = None

    def of(self, way: str) -> Export | None:
        """The file for a program."""
        return next((one for one in self.exports if one.program == way), None)


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be pinned: a deployment with what there is of it here.

    Of `files`, which have its name, the first that is its variant is taken; `given`, which the user chose, must be.
    """

    ranking: Ranking
    candidate: Candidate
    built: Built | None = None
    given: Path | None = None
    files: tuple[Path, ...] = ()
    bench: BenchDocument | None = None


def pin_here(subject: Subject, stop: Stop, post: Post) -> None:
    """The manifest of a deployment, with what the need asks for as what must hold."""
    from advisor.errors import AdvisorError
    from profiles.errors import ProfilesError
    from quantize.errors import QuantizeError

    def report(done: int, total: int) -> None:
        stop.check()
        words = _("hashing its file, {done} of {total}").format(done=amount(done), total=amount(total))
        post(PinningProgress(words))

    try:
        answer: Message = DeploymentPinned(_pin(subject, report))
    except (AdvisorError, ProfilesError, QuantizeError, OSError) as error:
        answer = PinningFailed(Problem(in_words(error)))
    if not stop.stopped:
        post(answer)


def _pin(subject: Subject, report: Report) -> Pinned:
    from advisor.catalog import catalog_version
    from advisor.cli.output import tool_version
    from advisor.errors import InvalidInputError
    from advisor.export import PROGRAMS, export
    from advisor.gate import Limits
    from advisor.manifest import decode_manifest, encode_manifest
    from advisor.pin import find_model, make_manifest, requirements, with_bench, with_build, with_file
    from advisor.report.manifest_text import manifest_text

    ranking, candidate, built, bench = subject.ranking, subject.candidate, subject.built, subject.bench
    here = ranking.found.here
    found = find_model(candidate.model, candidate.variant.quant, ranking.target, ranking.workload, here=here)
    path = None
    if built is not None and subject.given is None:
        found = with_build(found, built.manifest, built.folder)
        path = built.file
    elif (file := _file(subject)) is not None:
        found = with_file(found, file, _hash(file.path, report))
        path = file.path
    if (
        bench is not None
        and here
        and path is not None
        and path.absolute() == Path(bench.file.path).absolute()
    ):
        found = with_bench(found, bench)
    manifest = make_manifest(
        found,
        requirements(found.workload, Limits(), None),
        tool_version=tool_version(),
        catalog_version=catalog_version(),
    )
    content = encode_manifest(manifest)
    manifest = decode_manifest(content, manifest.label)
    text = manifest_text(manifest)
    pinned = Pinned(manifest=manifest, content=content, text=text, file=path)
    try:
        return msgspec.structs.replace(
            pinned, exports=tuple(export(manifest, program) for program in PROGRAMS)
        )
    except InvalidInputError as error:
        return msgspec.structs.replace(pinned, obstacle=translated(str(error)))


def _file(subject: Subject) -> ModelFile | None:
    """The file to pin, None where there is none. Raises what `variant_file` does for one that was chosen."""
    from advisor.errors import AdvisorError, InvalidInputError
    from advisor.pin import variant_file
    from quantize.errors import QuantizeError

    wanted = (subject.candidate.model.id, subject.candidate.variant.quant)
    if subject.given is not None:
        file = variant_file(subject.given)
        assert file.model is not None
        if (file.model.id, file.preset) != wanted:
            raise InvalidInputError(
                _(
                    "{path} is {label}, and another deployment is chosen: choose its row on the models screen"
                ).format(path=file.path, label=file.label)
            )
        return file
    for path in subject.files:
        try:
            file = variant_file(path)
        except (AdvisorError, QuantizeError, OSError):
            continue
        if file.model is not None and (file.model.id, file.preset) == wanted:
            return file
    return None


_hashes: dict[tuple[Path, int, int], str] = {}
"""By path, bytes and time of the last write: the need may change often while the file does not."""


def _hash(path: Path, report: Report) -> str:
    from quantize.hashes import sha256_of

    now = path.stat()
    key = (path, now.st_size, now.st_mtime_ns)
    if key not in _hashes:
        _hashes[key] = sha256_of(path, report)
    return _hashes[key]


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
    remedy = _("r writes over it, o takes another folder")
    try:
        if MANIFEST in ways and path.exists() and not replace and path.read_bytes() != pinned.content:
            raise InvalidInputError(
                _("{path} is there already, with other content; {remedy}").format(path=path, remedy=remedy)
            )
        write_exports(exports, folder, replace=replace, remedy=remedy)
        if MANIFEST in ways:
            signature_path(path).unlink(missing_ok=True)  # of the manifest that was here
            write_whole(path, pinned.content)
            paths.insert(0, path)
    except AdvisorError as error:
        post(ExportsWritten((), Problem(in_words(error)), in_the_way=isinstance(error, InvalidInputError)))
        return
    except OSError as error:
        post(ExportsWritten((), Problem(f"{in_words(error)}. " + _("o takes another folder."))))
        return
    post(ExportsWritten(tuple(paths)))
