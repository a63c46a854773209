"""`recommend` for a fleet: every device's own list, and the files that suffice for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import msgspec

from advisor.catalog import load_catalog
from advisor.fleet.coverage import Cover, Coverage
from advisor.fleet.decide import File, FleetDevice, Question, recommend_chunk, score_chunk
from advisor.fleet.devices import chunks
from advisor.workload import Workload

MapChunks = Callable[[Callable[[bytes], bytes], Iterable[bytes]], Iterator[bytes]]
"""`map` for chunks of bytes, in whichever processes: each answered once, in order."""

MOST_FILES = 256
"""Files that are looked at on every device: those that are on most devices' lists."""

MORE_FILES = 4
"""Sets of up to so many files more than the fewest are looked for."""


class FleetFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file and the devices it covers: it fits there and is quick enough. `first_on`: where none is better.

    `points_lost`: of the score, against the best file of each device that it covers, on average.
    """

    model: str
    name: str
    quant: str
    file_bytes: int
    devices: int
    share: float
    points_lost: float
    first_on: int


class FleetSet(msgspec.Struct, frozen=True, kw_only=True):
    """Some files for the whole fleet. `points_lost`: of the score, against each device's own best, on average."""

    files: tuple[str, ...]
    devices: int
    share: float
    points_lost: float


class FleetDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered, which file covers which share of the fleet, and which few files suffice for it.

    `files` are in the order of what each does for the whole fleet, share and score together. The first of `sets` is
    the smallest that covers `wanted_share`; those after it are the best with one file more each. Shares are of the
    devices that were understood. `proven`: no smaller set of these files covers as much.
    """

    workload: Workload
    devices: int
    without: int  # devices on which nothing fits
    failed: int  # lines that are no device
    wanted_share: float
    files: tuple[FleetFile, ...] = ()
    sets: tuple[FleetSet, ...] = ()
    proven: bool = True
    notes: tuple[str, ...] = ()


def recommend_fleet(
    question: Question,
    share: float,
    lines: Callable[[], Iterable[bytes]],
    map_chunks: MapChunks,
    answered: Callable[[FleetDevice], None],
    progress: Callable[[str, int], None] = lambda _what, _lines: None,
) -> FleetDocument:
    """Answer every device, and then the fleet; `lines` opens the lines anew each time it is called.

    `answered` is told each answer as it comes, in the order of the lines; `progress` what is being done and how many
    devices it is done for.
    """
    found = failed = without = 0
    listed: Counter[File] = Counter()
    first: Counter[File] = Counter()
    for block in map_chunks(partial(recommend_chunk, question), chunks(lines())):
        for answer in msgspec.msgpack.decode(block, type=tuple[FleetDevice, ...]):
            answered(answer)
            if answer.error is not None:
                failed += 1
                continue
            found += 1
            files = [(each.model, each.quant) for each in answer.recommendations]
            without += not files
            listed.update(files)
            first.update(files[:1])
        progress("devices answered", found + failed)
    document = FleetDocument(
        workload=question.workload, devices=found, without=without, failed=failed, wanted_share=share
    )
    if not listed:
        return document
    looked_at: tuple[File, ...] = tuple(file for file, _ in listed.most_common(MOST_FILES))
    rows: Counter[bytes] = Counter()
    for block in map_chunks(partial(score_chunk, question, looked_at), chunks(lines())):
        rows.update(msgspec.msgpack.decode(block, type=tuple[bytes, ...]))
        progress("devices compared", rows.total())
    return _covered(document, looked_at, first, Coverage(rows, len(looked_at)), len(listed))


def _covered(
    document: FleetDocument, files: tuple[File, ...], first: Counter[File], coverage: Coverage, listed: int
) -> FleetDocument:
    models = {model.id: model for model in load_catalog().models}

    def as_set(cover: Cover) -> FleetSet:
        return FleetSet(
            files=tuple(f"{models[files[n][0]].name}:{files[n][1]}" for n in cover.files),
            devices=cover.covered,
            share=cover.covered / coverage.devices,
            points_lost=cover.points_lost,
        )

    def as_file(number: int) -> FleetFile:
        name, quant = files[number]
        alone = coverage.alone(number)
        return FleetFile(
            model=name,
            name=models[name].name,
            quant=quant,
            file_bytes=models[name].variant(quant).file_bytes,
            devices=alone.covered,
            share=alone.covered / coverage.devices,
            points_lost=alone.points_lost,
            first_on=first[name, quant],
        )

    ordered = sorted(range(len(files)), key=coverage.worth, reverse=True)
    covers, proven = coverage.sets(document.wanted_share, MORE_FILES)
    notes = []
    if coverage.devices != document.devices:
        notes.append("the lines changed while they were read: the shares are of those of the second reading")
    if listed > len(files):
        notes.append(
            f"of the {listed} files on the devices' lists, the {len(files)} that are on most are compared"
        )
    if covers[0].covered < document.wanted_share * coverage.devices - 1e-9:
        reached = covers[0].covered / coverage.devices
        notes.append(f"no set covers {document.wanted_share:.0%}: nothing fits on more than {reached:.1%}")
    return msgspec.structs.replace(
        document,
        files=tuple(as_file(number) for number in ordered),
        sets=tuple(as_set(cover) for cover in covers),
        proven=proven,
        notes=tuple(notes),
    )
