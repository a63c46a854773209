"""Which files a fleet needs: the fewest that cover enough of its devices, and of those the best.

A file covers a device where it fits and is quick enough there. The fewest files that cover a share of the devices are
a set cover: a greedy choice gives a set, and a search with bounds shows whether a smaller one exists. Of the sets of
one size that cover enough, the one is sought whose devices lose the fewest points of score against their own best
file, by exchanging one file at a time; there, a better one may exist.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from advisor.fleet.decide import NOT_THERE

_MOST_STEPS = 100_000  # of the search for a smaller set
_ROUNDS = 10  # of exchanges
_NO_GAIN = 0.05  # points that nobody would ship another file for


class Cover(msgspec.Struct, frozen=True, kw_only=True):
    """A set of files, by their numbers, best first to be added; how many devices it covers, and what they lose by it.

    `points_lost` is the mean over the covered devices of the score of their own best file less that of the set's.
    """

    files: tuple[int, ...]
    covered: int
    points_lost: float


class Coverage:
    """The scores of files on the devices of a fleet."""

    def __init__(self, rows: Mapping[bytes, int], n_files: int) -> None:
        """rows: for each device the scores of the files as float32, `NOT_THERE` where one does not fit, and how many
        devices there are with these very scores.
        """
        self.devices = sum(rows.values())
        self._weights = list(rows.values())
        columns = [array("f") for _ in range(n_files)]
        for row in rows:
            for column, score in zip(columns, memoryview(row).cast("f"), strict=True):
                column.append(score)
        self._masks = [_mask(column, self._weights) for column in columns]
        # Weighted, and shifted so that every file that fits is worth more than none.
        least = min((score for column in columns for score in column if score > NOT_THERE), default=0.0)
        shift = 1.0 - least
        self._values = [
            array(
                "d",
                (
                    (score + shift) * weight if score > NOT_THERE else 0.0
                    for score, weight in zip(column, self._weights, strict=True)
                ),
            )
            for column in columns
        ]
        self._best = self._worth_of(range(n_files))

    def alone(self, file: int) -> Cover:
        """What a file does for the fleet by itself."""
        return self._cover([file])

    def worth(self, file: int) -> float:
        """How much a file does for the fleet by itself, in weighted points: for putting files in order."""
        return math.fsum(self._values[file])

    def coverable(self) -> int:
        """How many devices any file fits."""
        return _union(self._masks).bit_count()

    def sets(self, share: float, most: int) -> tuple[list[Cover], bool]:
        """The fewest files that cover `share` of the devices, or all that can be covered, and larger sets.

        Each is the best that was found with one file more than the one before, of up to `most` more, while that gains
        anything; and whether fewer than the first has are ruled out.
        """
        enough = min(math.ceil(share * self.devices - 1e-9), self.coverable())
        chosen, proven = self._fewest(enough)
        found = [self._exchanged(chosen, enough)]
        while len(found) <= most:
            files = found[-1].files
            worth = self._worth_of(files)
            more = max(range(len(self._values)), key=lambda file: self._gain(worth, file))
            better = self._exchanged([*files, more], enough)
            if better.points_lost > found[-1].points_lost - _NO_GAIN and better.covered <= found[-1].covered:
                break
            found.append(better)
        return found, proven

    def _fewest(self, enough: int) -> tuple[list[int], bool]:
        greedy = self._greedy(enough)
        useful = self._undominated()
        for size in range(1, len(greedy)):
            smaller, finished = _search(useful, self._masks, enough, size)
            if smaller is not None or not finished:
                return smaller or greedy, finished
        return greedy, True

    def _greedy(self, enough: int) -> list[int]:
        chosen: list[int] = []
        covered = 0
        while covered.bit_count() < enough:
            file = max(range(len(self._masks)), key=lambda file: (self._masks[file] | covered).bit_count())
            chosen.append(file)
            covered |= self._masks[file]
        return chosen

    def _undominated(self) -> list[int]:
        """Files that fit a device which no other file of the list fits beside all else it fits; most fitting first."""
        by_size = sorted(range(len(self._masks)), key=lambda file: -self._masks[file].bit_count())
        kept: list[int] = []
        for file in by_size:
            mask = self._masks[file]
            if mask and not any(mask & ~self._masks[other] == 0 for other in kept):
                kept.append(file)
        return kept

    def _exchanged(self, files: Sequence[int], enough: int) -> Cover:
        """The set after every exchange of one file that loses fewer points and still covers enough."""
        chosen = list(files)
        for _ in range(_ROUNDS):
            before = list(chosen)
            for place in range(len(chosen)):
                others = chosen[:place] + chosen[place + 1 :]
                worth = self._worth_of(others)
                covered = _union([self._masks[file] for file in others])
                allowed = [
                    file
                    for file in range(len(self._masks))
                    if (covered | self._masks[file]).bit_count() >= enough
                ]
                chosen[place] = max(
                    allowed, key=lambda file: (self._gain(worth, file), file == before[place])
                )
            if chosen == before:
                break
        return self._cover(chosen)

    def _cover(self, files: list[int]) -> Cover:
        covered = _union([self._masks[file] for file in files]).bit_count()
        worth = self._worth_of(files)
        lost = sum(best - own for best, own in zip(self._best, worth, strict=True) if own)
        ordered: list[int] = []
        left = list(dict.fromkeys(files))
        while left:
            so_far = self._worth_of(ordered)
            ordered.append(max(left, key=lambda file: self._gain(so_far, file)))
            left.remove(ordered[-1])
        return Cover(files=tuple(ordered), covered=covered, points_lost=lost / covered if covered else 0.0)

    def _worth_of(self, files: Iterable[int]) -> list[float]:
        """For each row what the best of the files is worth there; 0 where none fits."""
        worth = [0.0] * len(self._weights)
        for file in files:
            worth = list(map(max, worth, self._values[file]))
        return worth

    def _gain(self, worth: list[float], file: int) -> float:
        return sum(map(max, worth, self._values[file]))


def _mask(column: array[float], weights: list[int]) -> int:
    """A bit for each device, set where the file fits; the devices of a row are neighbours."""
    bits = (
        ("1" if score > NOT_THERE else "0") * weight for score, weight in zip(column, weights, strict=True)
    )
    return int("0" + "".join(bits), 2)


def _union(masks: Sequence[int]) -> int:
    union = 0
    for mask in masks:
        union |= mask
    return union


def _search(useful: list[int], masks: list[int], enough: int, size: int) -> tuple[list[int] | None, bool]:
    """`size` files of `useful` that cover `enough`, or None; and whether the search came to its end.

    useful: those that fit most devices first.
    """
    steps = 0

    def extend(chosen: list[int], covered: int, start: int, left: int) -> list[int] | None:
        nonlocal steps
        if covered.bit_count() >= enough:
            return chosen
        if not left:
            return None
        for index in range(start, len(useful)):
            steps += 1
            mask = masks[useful[index]]
            # The files after this one fit no more devices than it.
            if steps > _MOST_STEPS or covered.bit_count() + left * mask.bit_count() < enough:
                return None
            found = extend([*chosen, useful[index]], covered | mask, index + 1, left - 1)
            if found is not None:
                return found
        return None

    found = extend([], 0, 0, size)
    return found, found is not None or steps <= _MOST_STEPS
