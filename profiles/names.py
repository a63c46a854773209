"""What people and drivers call a device, brought to one spelling.

"NVIDIA GeForce RTX 4090 Laptop GPU", "RTX 4090 Mobile 16GB" and "rtx4090 mobile" have the key "rtx 4090 mobile". What
tells variants of one product apart (memory size, GPU cores, CPU cores) is taken out of the key and kept beside it.
"""

from __future__ import annotations

import re

import msgspec

# Words that say nothing once the rest of the name is there, in the order they are removed.
_NOISE = re.compile(
    r"""\b(?:nvidia|geforce|quadro|tesla|amd|radeon|ati|intel|apple|qualcomm|mediatek|broadcom|google|samsung
    |aws|azure|arm|raspberry|rockchip|core|cores|processor|cpu|gpu|igpu|dgpu|graphics|laptop|notebook|desktop
    |pc|mini\s?pc|handheld|office|generation|workstation|edition|phone|bionic|chip|soc|model\ b|custom|inc|tm|r|class
)\b""",
    re.VERBOSE,
)
_REWRITES = (
    (re.compile(r"\((?:r|tm|c)\)|[®™©]", re.IGNORECASE), " "),
    (re.compile(r"@\s*[\d.]+\s*[gm]hz"), " "),
    (re.compile(r"\b\d+(?:st|nd|rd|th) gen\b(?= +(?:intel|core|amd|ryzen))"), " "),
    (re.compile(r"\bmax-q\s*/\s*mobile\b"), "mobile"),
    (re.compile(r"\blaptop gpu\b|\bnotebook gpu\b"), "mobile"),
    (
        re.compile(r"\b((?:rtx|gtx|rx|arc) ?a?\d{3,4}\w{0,2}(?: ti| super)?) (?:laptop|notebook)\b"),
        r"\1 mobile",
    ),
    (re.compile(r"\b(?:\d+|dual|quad|six|eight|twelve|sixteen)-cores? processor\b"), " "),
    (re.compile(r"\brev(?:ision)? ?\d+(?:\.\d+)?\b"), " "),
    (re.compile(r"\bcompute module (\d)"), r"cm\1"),
    (
        re.compile(
            r"\b(rtx|gtx|rx|gt|arc|radeon|ryzen|epyc|core|snapdragon|dimensity|exynos|pixel|iphone|pi)(\d)"
        ),
        r"\1 \2",
    ),
    (re.compile(r"\b(\d{4}) ?(ti|super|xt|xtx|gre)\b"), r"\1 \2"),
    (re.compile(r"\bti ?super\b"), "ti super"),
    (re.compile(r"\bryzen (\d|ai \d|ai max\+?) pro\b"), r"ryzen \1"),
    (re.compile(r"\bplus gen\b"), "+ gen"),
    (re.compile(r"(?<=\d)(pro|max|ultra|plus|mini)\b"), r" \1"),
    # Intel's suffixes F (no graphics) and S (a few MHz more) change nothing here
    (re.compile(r"\b(i[3579][ -]\d{4,5}k?)[fs]\b"), r"\1"),
    # A Mac by its chip: "MacBook Pro 16 M2 Max 64GB"
    (re.compile(r".*\b(?:macbook|imac|mac)\b.*?\b(m\d+(?: (?:pro|max|ultra))?\b)"), r"\1 "),
    (
        re.compile(
            r"(\bm\d+(?: (?:pro|max|ultra))?) +(?:mac studio|mac mini|macbook pro|macbook air|imac|mac pro)\b"
        ),
        r"\1",
    ),
)
_SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?) ?gi?b\b")
_GPU_CORES = re.compile(r"\b(\d+)[- ]?(?:core )?gpu(?: cores?)?\b|\b(\d+)[- ]core gpu\b")
_CPU_CORES = re.compile(r"\b(\d+)p ?\+ ?(\d+)e\b")
_PLAIN_CORES = re.compile(r"\b\d+[- ]cores?\b|\b\d+ ?vcpus?\b")
_SEPARATORS = re.compile(r"\s+w/\s*|\s+with\s+|[,;]|\s\+\s|\s&\s|\s/\s|\s-\s")


class Name(msgspec.Struct, frozen=True):
    """A spelling-free key, and what the name says about the variant."""

    key: str
    sizes_gb: tuple[float, ...] = ()  # memory sizes written in the name
    gpu_cores: int | None = None
    cpu_cores: tuple[int, int] | None = None  # performance, efficiency


def read_name(text: str) -> Name:
    """The key of a device's name and the qualifiers in it. The key is "" for a name of noise words only."""
    name = text.lower().replace("_", " ")
    for pattern, replacement in _REWRITES:
        name = pattern.sub(replacement, name)
    sizes = tuple(float(size) for size in _SIZE.findall(name))
    name = _SIZE.sub(" ", name)
    cores = _GPU_CORES.search(name)
    gpu_cores = int(cores[1] or cores[2]) if cores else None
    name = _GPU_CORES.sub(" ", name)
    split = _CPU_CORES.search(name)
    cpu_cores = (int(split[1]), int(split[2])) if split else None
    name = _PLAIN_CORES.sub(" ", _CPU_CORES.sub(" ", name))
    # A plus belongs to a name at the end of a word ("Pi 500+", "8480+") and nowhere else.
    name = re.sub(r"(?<!\w)\+|\+(?=\w)", " ", re.sub(r"[^\w+.]+", " ", name))
    name = _NOISE.sub(" ", name)
    return Name(" ".join(name.split()), sizes, gpu_cores, cpu_cores)


def parts_of(text: str) -> list[str]:
    """The names inside a longer one: "Pi 5 - 8GB (AMD RX 7600)" is ["Pi 5", "8GB", "AMD RX 7600"]."""
    inside = re.findall(r"\(([^()]*)\)", re.sub(r"\((?:r|tm|c)\)", "", text, flags=re.IGNORECASE))
    outside = re.sub(r"\([^()]*\)", " ; ", re.sub(r"\((?:r|tm|c)\)", "", text, flags=re.IGNORECASE))
    pieces = [piece for whole in (outside, *inside) for piece in _SEPARATORS.split(whole)]
    return [piece.strip() for piece in pieces if piece.strip()]


def short_keys(key: str) -> list[str]:
    """Shorter keys people use for the same thing: "rtx 4090" is also "4090", "v100 sxm2" also "v100"."""
    found = []
    bare = re.sub(r"\b(?:pcie|sxm\d?|nvl|hbm\d\w?|oam)\b", " ", key)
    if bare != key:
        found.append(" ".join(bare.split()))
    metal = re.sub(r"\bxeon (?:platinum|gold|silver|bronze) ", "xeon ", key)
    if metal != key:
        found += [metal, metal.removeprefix("xeon ")]
    match = re.fullmatch(r"(?:rtx|gtx|rx|arc|instinct|ai pro|pro) (?=.*\d{3})(.+)", key) or re.fullmatch(
        r"(?:ryzen \d|i\d|threadripper|epyc|xeon|ultra \d|ryzen) (?=.*\d{3})(.+)", key
    )
    if match and re.search(r"\d{3}", "".join(match[1].split()[:2])):
        found.append(match[1])
    return found
