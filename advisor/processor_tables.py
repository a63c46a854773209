"""What processor names mean: GPU generations, and the cores of CPUs.

Device files and drivers give names and few numbers; these tables hold what follows from the name. A pattern is
searched in the lower-case name, and the first that matches wins, so narrower patterns come first.

Sources: NVIDIA's CUDA programming guide (arithmetic throughput by compute capability) and data sheets; AMD's RDNA
and CDNA instruction set guides; Intel's Xe architecture guides; Apple's and Arm's core documentation; the clocks
are those that vendors give for all cores at work, rounded. They rank chips; the fit (speed.json) sets the scale.
"""

from __future__ import annotations

import msgspec


class GpuGeneration(msgspec.Struct, frozen=True):
    """FP16 rates that data sheets give, in units of the FP32 rate: by shaders, and by matrix units (dense).

    `flops_per_byte` is a usual FP32 rate over bandwidth; it tells the two apart for a card nobody listed.
    """

    shader: float
    matrix: float | None
    flops_per_byte: float


GENERATIONS: dict[str, GpuGeneration] = {
    "kepler": GpuGeneration(1, None, 17),
    "maxwell": GpuGeneration(1, None, 20),
    "pascal": GpuGeneration(1 / 64, None, 27),
    "pascal-hbm": GpuGeneration(2, None, 13),
    "volta": GpuGeneration(2, 8, 18),
    "turing-gtx": GpuGeneration(2, None, 23),
    "turing": GpuGeneration(2, 4, 21),
    "ampere-hbm": GpuGeneration(4, 16, 10.5),
    "ampere": GpuGeneration(1, 2, 40),
    "ada": GpuGeneration(1, 2, 72),
    "hopper": GpuGeneration(4, 15, 20),
    "blackwell": GpuGeneration(1, 2, 55),
    "tegra": GpuGeneration(2, None, 12),
    "orin": GpuGeneration(2, 8, 24),
    "volta-soc": GpuGeneration(2, 8, 12),
    "blackwell-soc": GpuGeneration(1, 4, 109),
    "gcn": GpuGeneration(1, None, 24),
    "vega": GpuGeneration(2, None, 13),
    "cdna": GpuGeneration(8, None, 15),
    "rdna1": GpuGeneration(2, None, 22),
    "rdna2": GpuGeneration(2, None, 40),
    "rdna3": GpuGeneration(2, None, 65),
    "rdna3-igpu": GpuGeneration(2, None, 95),
    "rdna4": GpuGeneration(2, 4, 72),
    "xe-igpu": GpuGeneration(2, None, 45),
    "alchemist": GpuGeneration(2, 7, 38),
    "battlemage": GpuGeneration(2, 8.5, 32),
    "apple": GpuGeneration(1, 3.56, 33),
    "apple-ultra": GpuGeneration(1, 3.56, 31),
    "apple-phone": GpuGeneration(1, 3.56, 34),
    "adreno": GpuGeneration(2, None, 40),
    "mali": GpuGeneration(2, None, 25),
    "hexagon": GpuGeneration(1, None, 100),
}

GENERATION_PATTERNS: tuple[tuple[str, str], ...] = (  # name of a GPU, key of GENERATIONS
    (r"\ba1\d( pro)? \d-core|iphone|ipad mini|\ba1\d pro\b", "apple-phone"),
    (r"orin", "orin"),
    (r"jetson nano|tx1\b|\bgm20b", "tegra"),
    (r"jetson tx2", "tegra"),
    (r"xavier", "volta-soc"),
    (r"gb10|dgx spark|\bthor\b", "blackwell-soc"),
    (r"\bk[248]0\b|kepler|gtx [67]\d\d\b", "kepler"),
    (r"gtx 9\d\d|tesla m\d|\bm[46]0\b|quadro m|maxwell", "maxwell"),
    (r"\bp100\b|gp100", "pascal-hbm"),
    (r"gtx 10\d\d|gt 10\d\d|\bp(4|6|40)\b|quadro p|\bp\d{3,4}\b|titan xp?\b|pascal|\bmx[123]\d\d", "pascal"),
    (r"\bv100|titan v|volta|gv100", "volta"),
    (r"gtx 16|mx4\d\d", "turing-gtx"),
    (r"rtx 20|\bt4\b|\bt4g|quadro rtx|titan rtx|\brtx [3-8]000\b(?! ada)|\bt\d{3,4}\b|turing", "turing"),
    (r"\ba100\b|\ba30\b|\ba800\b", "ampere-hbm"),
    (r"h100|h200|h800|gh200|\bh20\b|hopper", "hopper"),
    (r"\d000 (sff )?ada|\bl40s?\b|\bl4\b", "ada"),
    (r"rtx 50\d\d|blackwell|b[12]00\b|rtx pro", "blackwell"),
    (r"rtx 40\d\d|\bada\b|\bl4\b|\bl20\b|\bl40", "ada"),
    (
        r"rtx 30|\brtx a\d{3,4}|\ba(2|10g?|16|40)\b|\ba[2456]000\b|\ba4500\b|\ba400\b|\ba1000\b|ampere",
        "ampere",
    ),
    (r"rx [45][5-9]0\b|polaris|firepro|r9 ", "gcn"),
    (r"mi[56]0\b|vega|radeon vii", "vega"),
    (r"mi[123]\d\d", "cdna"),
    (r"rx 5[3-7]\d\d|pro w5", "rdna1"),
    (r"rx 6\d\d\d|pro w6|v620|steam deck|van gogh", "rdna2"),
    (r"\b6[1-9]0m\b|rembrandt|ryzen \d (pro )?[67]\d35", "rdna2"),
    (r"rx 90|ai pro r9|r97\d0|rdna ?4|navi 4", "rdna4"),
    (r"rx 7\d\d\d|pro w7|rdna ?3|navi 3", "rdna3"),
    (
        r"\b[78]\d0m\b|80[456]0s|ryzen ai|ryzen z|strix|hawk point|phoenix|ryzen \d (pro )?[78][468]4\d",
        "rdna3-igpu",
    ),
    (r"arc (pro )?b\d|arc 1[34]0v|battlemage|lunar lake|core ultra \d 2\d\dv|xe2", "battlemage"),
    (r"arc (pro )?a\d{2,3}|data center gpu flex|alchemist", "alchemist"),
    (r"iris|uhd|\barc\b|xe-lp|intel graphics|core ultra", "xe-igpu"),
    (r"\bm\d ultra", "apple-ultra"),
    (r"apple m\d|\bm[1-9]( pro| max| ultra)?\b", "apple"),
    (r"\ba1\d( pro)?\b|iphone|ipad", "apple-phone"),
    (r"hexagon|htp|npu", "hexagon"),
    (r"adreno|snapdragon", "adreno"),
    (r"mali|immortalis|xclipse|powervr|dxt", "mali"),
)

# FP32 rates in 10^12 per second, where the sheet's FP16 rate is missing or cannot be told apart.
SHADER_TFLOPS: tuple[tuple[str, float], ...] = (
    (r"tesla k80", 4.11),
    (r"m40\b", 6.84),
    (r"tesla t4|\bt4\b", 8.14),
    (r"\ba30\b", 10.3),
    (r"\ba100\b", 19.5),
    (r"\ba400\b", 2.7),
    (r"mi50\b", 13.4),
    (r"mi60\b", 14.7),
    (r"mi100\b", 23.1),
    (r"mi210\b", 22.6),
    (r"\bl40s?\b", 91.0),
    (r"5000 ada", 65.3),
    (r"890m", 11.9),
    (r"880m", 8.9),
    (r"860m", 6.1),
    (r"840m", 3.1),
    (r"8060s|ai max\+? 395", 29.7),
    (r"8050s|ai max 385", 22.9),
    (r"arc 140v|258v|256v", 4.1),
    (r"gb10|dgx spark", 29.7),
    (r"m5 ultra", 36.8),
    (r"m5 max.*32|m5 max 32", 14.7),
    (r"m5 max", 18.4),
    (r"m5 pro.*16|m5 pro 16", 7.4),
    (r"m5 pro", 9.2),
    (r"jetson nano", 0.236),
    (r"agx thor", 8.1),
)

# Name of a CPU or its device; 128-bit SIMD multiplies that a performance core does per cycle; its GHz.
CORES: tuple[tuple[str, float, float], ...] = (
    (r"rp3a0|zero 2|bcm2837|pi 3|cortex-a53", 1, 1.2),
    (r"bcm2711|pi 4\b|cortex-a72", 1.5, 1.7),
    (r"bcm2712|pi 5|cm5|pi 500|cortex-a76", 2, 2.4),
    (r"rk3588|orange pi 5|rock 5", 2, 2.3),
    (r"qcs6490|q6a|cortex-a78", 2, 2.6),
    (r"cix|cp8180|orion o6|ms-r1|cortex-a720", 2, 2.6),
    (r"q8b", 2, 2.4),
    (r"eic770|p550|jh7110|u74|visionfive|dc-roma", 0.1, 1.5),
    (r"cortex-a57|jetson nano|tx2", 1, 1.5),
    (r"carmel|xavier", 2, 1.9),
    (r"a78ae|orin", 2, 1.7),
    (r"thor", 4, 2.6),
    (r"gb10|spark|x925", 4, 3.6),
    (r"8 elite gen 5|x2 elite", 4, 3.7),
    (r"8 elite|oryon|x elite|x plus|x1e|x1p", 4, 3.4),
    (r"8 gen 3|dimensity 9[34]|mt698|exynos 2400|tensor g[45]", 3, 3.0),
    (r"8 gen 2|8 gen 1|8\+ gen|exynos 2[12]00|tensor g3", 2.7, 2.8),
    (r"dimensity 8[34]|mt689", 2.2, 3.0),
    (r"snapdragon 8[568]|tensor g[12]|kirin 9", 2.5, 2.5),
    (r"7 gen 3|7\+? gen|dimensity [78]", 2.2, 2.4),
    (r"helio|exynos 1|snapdragon [46]|dimensity [67]", 2, 2.1),
    (r"\ba19|\ba18|m[45]\b", 4, 4.2),
    (r"\ba1[67]|m3\b", 4, 3.8),
    (r"\ba15|m2\b", 4, 3.3),
    (r"\ba14|m1\b", 4, 3.1),
    (r"graviton ?[34]|neoverse-v", 4, 2.6),
    (r"neoverse-n[23]|cobalt", 2, 3.0),
    (r"ampereone|altra|neoverse-n1|graviton ?2", 2, 3.0),
    (r"core 2|q8400|core2", 2, 2.6),
    (r"n\d{2,3}\b|alder lake-n|twin lake|celeron|pentium", 2, 2.9),
    (r"haswell|i\d-4\d{3}", 4, 2.8),
    (r"i\d-(6|7|8|9|10)\d{3}u|\bi\d-(6|7|8|10)\d\d0u|kaby|comet lake-u|whiskey", 4, 2.5),
    (r"i\d-[6-9]\d{3}|coffee lake|skylake|i\d-10\d{3}", 4, 4.0),
    (r"tiger lake|ice lake|i\d-11\d\d|i\d-10\d\dg", 5, 3.3),
    (r"i\d-1[23]\d\d\d?[up]|alder lake-[up]", 5, 3.0),
    (r"i\d-1[234]\d{3}|raptor lake|alder lake", 5, 4.8),
    (r"core ultra|meteor|arrow|lunar", 5, 3.8),
    (r"xeon.*(8[345]|platinum|gold)|8370c", 6, 3.0),
    (r"xeon.*e5", 4, 2.4),
    (r"xeon", 5, 2.8),
    (r"ryzen ai|strix|krackan|zen 5", 5, 4.0),
    (r"99\d0x|9[79]\d0|97\d0x|9[68]00x", 6, 4.8),
    (r"79\d0x|7[67]\d0x|7800x3d", 5, 4.8),
    (r"7[5-9]4\d|7735|8[5-9]4\d|z1|hawk point|phoenix|zen 4", 5, 4.2),
    (r"epyc 9", 5, 3.2),
    (r"epyc 7|threadripper", 4, 3.0),
    (r"5[5-9]\d0x|5800x3d|zen 3", 4, 4.3),
    (r"5500u|zen 2|steam deck|[34]\d{3}[ux]", 4, 3.2),
    (r"6[68]00h|5[68]00[hu]|rembrandt", 4, 3.8),
)

# Share of the memory's bandwidth that the CPU cores of a chip with a wide bus can draw, as their users measured.
CPU_SHARES: tuple[tuple[str, float], ...] = (
    (r"ai max|strix halo", 0.5),
    (r"m\d ultra", 0.6),
    (r"m\d max", 0.62),
    (r"gb10|spark|agx", 0.8),
)

LANES_BY_FEATURES: tuple[tuple[frozenset[str], float], ...] = (
    (frozenset({"avx512_vnni", "avx_vnni"}), 8),  # two 512-bit ports: Sapphire Rapids and later, Zen 5
    (frozenset({"avx512_vnni"}), 6),
    (frozenset({"avx_vnni"}), 5),
    (frozenset({"avx2"}), 4),
)
"""128-bit SIMD multiplies per cycle of a core whose name says nothing, by what it can do."""
