"""Plan where weights come from, and download nothing: only headers are read and lists of files are asked for.

    source = find_source(None, weights="Qwen/Qwen3-0.6B", gguf_repos=("unsloth/Qwen3-0.6B-GGUF",))
    source.describe(), source.notes

What the user gives wins. Else the Hub: a BF16 or F16 GGUF of the model as published, since nothing has to be
converted; then an F32 one; then the safetensors. Every repository that is passed over leaves a note.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from profiles.offline import FORBIDDEN
from quantize.errors import GatedError, HubError, HubOfflineError, SourceError, SourceNotFoundError
from quantize.sources.cache import RepositoryCache
from quantize.sources.choose import Choice, choose_gguf, choose_safetensors
from quantize.sources.hub import Hub
from quantize.sources.listing import Listing
from quantize.sources.local import local_source
from quantize.sources.names import is_repository, is_revision
from quantize.sources.settings import HubSettings, Patience, hub_settings
from quantize.sources.source import PRECISIONS, Source, SourceFile

_Chooser = Callable[[str, Listing], Choice | str]


def find_source(
    path: Path | None,
    *,
    weights: str | None,
    gguf_repos: Sequence[str] = (),
    revision: str | None = None,
    parameters: int | None = None,
    offline: bool = False,
    settings: HubSettings | None = None,
    patience: Patience | None = None,
) -> Source:
    """Full-precision weights: at `path` if it is given, else of the repository `weights`, or published as GGUF.

    `weights` may also be a path, as the catalog has it for a model the user added. `gguf_repos` are looked through in
    their order. `revision` is a branch, tag or commit; repositories without it are passed over. `parameters` is the
    number of weights of the model: GGUFs whose size tells of another number are passed over too.

    Raises SourceError (and its kinds) where nothing can be used, InvalidModelError for a damaged local GGUF, HubError
    where the Hub does not answer, and HubOfflineError where it must not be asked and the cache does not suffice.
    """
    if path is not None:
        return local_source(path)
    if weights is not None and not is_repository(weights):
        return local_source(Path(weights).expanduser())
    search = _Search(revision, offline, settings, patience)

    def gguf(*wanted: str) -> _Chooser:
        return lambda repository, listing: choose_gguf(
            repository, listing.files, wanted, model=weights, parameters=parameters
        )

    steps = [(repository, gguf("BF16", "F16")) for repository in gguf_repos]
    steps += [(repository, gguf("F32")) for repository in gguf_repos]
    steps += [(weights, _safetensors)] if weights is not None else []
    return search.first(steps, preset=None)


def find_ready(
    gguf_repos: Sequence[str],
    preset: str,
    *,
    model: str | None = None,
    revision: str | None = None,
    offline: bool = False,
    settings: HubSettings | None = None,
    patience: Patience | None = None,
) -> Source:
    """A published GGUF whose name promises `preset`, as `quantize.types.parse_preset` writes it.

    `model` is the model's own repository. A name is only a promise: hold the fetched file against the catalog.
    Raises as `find_source` does.
    """
    search = _Search(revision, offline, settings, patience)

    def choose(repository: str, listing: Listing) -> Choice | str:
        return choose_gguf(repository, listing.files, (preset,), model=model)

    return search.first([(repository, choose) for repository in gguf_repos], preset=preset)


def _safetensors(repository: str, listing: Listing) -> Choice | str:
    counts = listing.weights_by_type
    if counts:
        most = max(counts, key=lambda kind: counts[kind])
        if most not in PRECISIONS:
            return f"{repository} holds {most} weights: they are quantized already"
    return choose_safetensors(repository, listing.files)


class _Search:
    """One walk through repositories: what was asked is not asked again, what was passed over is noted."""

    def __init__(
        self, revision: str | None, offline: bool, settings: HubSettings | None, patience: Patience | None
    ) -> None:
        if revision is not None and not is_revision(revision):
            raise SourceError(f"{revision[:80]!r} is no revision: give a branch, a tag or a commit")
        self._revision = revision or "main"
        self._settings = settings or hub_settings()
        self._offline = offline or self._settings.offline
        self._hub = Hub(self._settings, patience or Patience())
        self._listings: dict[str, tuple[Listing, ...]] = {}
        self._notes: list[str] = []
        self._gated: GatedError | None = None
        self._unreachable: HubError | None = None

    def first(self, steps: Sequence[tuple[str, _Chooser]], preset: str | None) -> Source:
        """The source of the first step that has one."""
        for repository, choose in steps:
            if not is_repository(repository):
                self._note(f"{repository[:100]!r} is no repository of the Hub")
                continue
            try:
                for listing in self._listed(repository):
                    choice = choose(repository, listing)
                    if isinstance(choice, str):
                        self._note(choice)
                    else:
                        return self._source(repository, listing, choice, preset)
            except GatedError as error:
                self._gated = error
                self._note(f"{repository} is gated, without access")
            except SourceNotFoundError as error:
                self._listings[repository] = ()
                self._note(str(error))
        raise self._failure(preset)

    def _listed(self, repository: str) -> tuple[Listing, ...]:
        if repository not in self._listings:
            self._listings[repository] = tuple(self._ask(repository))
        return self._listings[repository]

    def _ask(self, repository: str) -> Iterator[Listing]:
        if not self._offline and self._unreachable is None:
            try:
                yield self._hub.listing(repository, self._revision)
                return
            except HubError as error:  # from here on the cache has to do
                self._unreachable = error
        cache = RepositoryCache(self._settings.cache, repository)
        listings = [
            Listing(commit=commit, files=cache.files(commit)) for commit in cache.commits(self._revision)
        ]
        if not listings:
            self._note(f"{repository} is not in the cache")
        yield from listings

    def _source(self, repository: str, listing: Listing, choice: Choice, preset: str | None) -> Source:
        cache = RepositoryCache(self._settings.cache, repository)
        from_cache = self._offline or self._unreachable is not None
        files = [file if from_cache else self._known(repository, listing, file) for file in choice.files]
        files = [_with_cached(file, cache.find(listing.commit, file) is not None) for file in files]
        missing = [file for file in files if not file.cached]
        if listing.gated and missing:
            self._hub.facts(repository, listing.commit, missing[-1].name)
        if self._unreachable is not None:
            self._note(f"the Hub could not be asked ({self._unreachable}); taken from the cache")
        counts = {kind: n for kind, n in listing.weights_by_type.items() if kind in PRECISIONS}
        stated = max(counts, key=lambda kind: counts[kind]) if counts else ""
        return Source(
            kind="gguf" if choice.tag else "safetensors",
            origin="hub",
            files=tuple(files),
            repository=repository,
            revision=listing.commit,
            branch=self._revision,
            endpoint=self._settings.shown_endpoint,
            precision=None if preset else PRECISIONS.get(choice.tag or stated),
            preset=preset,
            license=listing.license,
            download_bytes=sum(cache.missing_bytes(listing.commit, file) for file in files),
            notes=tuple(self._notes),
        )

    def _known(self, repository: str, listing: Listing, file: SourceFile) -> SourceFile:
        """`file` with a hash to check it by; some mirrors leave it out of the list."""
        if file.sha256 or file.git_oid:
            return file
        return self._hub.facts(repository, listing.commit, file.name)

    def _note(self, note: str) -> None:
        if note not in self._notes:
            self._notes.append(note)

    def _failure(self, preset: str | None) -> Exception:
        looked = "".join(f"\n    {note}" for note in self._notes)
        if self._unreachable is not None:
            return HubError(f"{self._unreachable}; nothing that could be used is in the cache")
        what = f"published {preset} GGUF" if preset else "full-precision weights"
        if self._offline:
            return HubOfflineError(
                f"no {what} in the Hub's cache {self._settings.cache}, and asking the Hub needs the network, which "
                f"{FORBIDDEN}" + looked
            )
        if self._gated is not None:
            return self._gated
        hint = "build one instead" if preset else "give a GGUF (F32, F16, BF16) or a folder with safetensors"
        return SourceNotFoundError(f"no {what} found: {hint}" + looked)


def _with_cached(file: SourceFile, cached: bool) -> SourceFile:
    return msgspec.structs.replace(file, cached=cached)
