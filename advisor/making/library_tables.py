"""What the import of the device library corrects and adds, each table with its reason."""

from __future__ import annotations

GENERAL = "general knowledge, unverified"

# TensorCore rate (dense FP16, FP32 accumulation) over the shader FP16 rate of the collected table, by architecture.
# GeForce chips run FP32 accumulation at half rate, professional cards of the same chips at full rate. NVIDIA's
# architecture whitepapers: Turing (TU102 appendix), Ampere GA102, Ada, Blackwell RTX; Volta V100; Jetson Orin.
# The ratios agree with the 20 cards whose rate the collected table gives.
TENSOR_RATIOS = (
    (r"GeForce RTX", 2.0, "GeForce: FP32 accumulation at half rate"),
    (r"TITAN (V|RTX)|Quadro RTX|Tesla V100", 4.0, "Volta and Turing, full rate"),
    (r"RTX A\d|RTX \d+ Ada|RTX PRO|NVIDIA (A40|L4|L40S)\b|GB10", 4.0, "Ampere, Ada, Blackwell, full rate"),
    (r"Jetson (Xavier|AGX Xavier|Orin|AGX Orin)", 4.0, "Volta and Ampere in Jetson, full rate"),
    (r"Radeon (RX 90|AI PRO R9)", 2.0, "RDNA 4 matrix instructions"),
    (r"Intel Arc (A|Pro A)\d", 3.5, "XMX of Alchemist, as of the A770"),
    (r"Intel Arc (B|Pro B)\d", 4.27, "XMX of Battlemage, as of the B580"),
)  # fmt: skip

FP16_TFLOPS = {
    "NVIDIA A30 PCIe": 165.0,
    "NVIDIA A100 PCIe 80 GB": 312.0,
    "NVIDIA A100 SXM4 80 GB": 312.0,
    "NVIDIA H100 PCIe 80 GB": 756.0,
    "NVIDIA H100 SXM5 80 GB": 989.0,
    "NVIDIA H100 NVL 94 GB": 835.0,
    "NVIDIA L40": 181.0,
    "NVIDIA Tesla T4": 65.0,
    "Jetson AGX Thor": 258.0,
    # RDNA 3.5: 512 FLOP per compute unit and clock with WMMA; the collected table leaves out the dual issue
    "AMD Radeon 860M": 12.3,
    "AMD Radeon 880M": 17.8,
    "AMD Radeon 890M": 23.8,
    "AMD Radeon 8050S": 45.9,
    "AMD Radeon 8060S": 59.4,
    # M5: every GPU core has a matrix unit; 1024 FLOP per core and clock at 1.6 GHz
    "Apple M5 (8-core GPU)": 13.1,
    "Apple M5 (10-core GPU)": 16.4,
    "Apple M5 Pro (16-core GPU)": 26.2,
    "Apple M5 Pro (20-core GPU)": 32.8,
    "Apple M5 Max (32-core GPU)": 52.4,
    "Apple M5 Max (40-core GPU)": 65.5,
}

# The FP16 rate of these chips is 1/64 of FP32 or does not exist; llama.cpp computes in FP32 or integers there.
FP32_TFLOPS_BEFORE_TENSOR_CORES = {
    "NVIDIA GeForce GTX 1050 Ti": 2.14,
    "NVIDIA GeForce GTX 1060 6 GB": 4.38,
    "NVIDIA GeForce GTX 1060 3 GB": 3.94,
    "NVIDIA GeForce GTX 1070": 6.46,
    "NVIDIA GeForce GTX 1070 Ti": 8.19,
    "NVIDIA GeForce GTX 1080": 8.87,
    "NVIDIA GeForce GTX 1080 Ti": 11.34,
    "NVIDIA GeForce GTX 1070 Max-Q": 5.7,
    "NVIDIA TITAN Xp": 12.15,
    "NVIDIA Quadro P4000": 5.3,
    "NVIDIA Tesla P40": 11.76,
    "NVIDIA Tesla M40 24 GB": 6.83,
    "NVIDIA Tesla K80": 4.11,
}

COMPUTE_CAPABILITY = (
    ("GK210", "3.7"), ("GM20B", "5.3"), ("GM", "5.2"), ("GP100", "6.0"), ("GP10B", "6.2"), ("GP", "6.1"),
    ("GV100", "7.0"), ("GV10B", "7.2"), ("TU", "7.5"), ("GA100", "8.0"), ("GA10B", "8.7"), ("GA", "8.6"),
    ("AD", "8.9"), ("GH", "9.0"), ("GB20B", "12.1"), ("GB2", "12.0"),
)  # fmt: skip

ISA_GROUPS = {
    "v80": ("neon",),
    "v8": ("neon", "dotprod", "fp16"),
    "v9": ("neon", "dotprod", "fp16", "i8mm", "bf16"),
    "v9s": ("neon", "dotprod", "fp16", "i8mm", "bf16", "sve", "sve2"),
    "zen4": ("avx512_vnni", "avx512_vbmi", "avx512_bf16"),
    "zen5": ("avx_vnni", "avx512_vnni", "avx512_vbmi", "avx512_bf16"),
    "amx": ("avx_vnni", "avx512_vnni", "avx512_vbmi", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16"),
}
_AVX2 = ("sse3", "ssse3", "sse4_2", "avx", "f16c", "fma", "bmi2", "avx2")
_AVX512 = (*_AVX2, "avx512f", "avx512bw", "avx512vl")
ISA_IMPLIES = {
    "avx": ("sse3", "ssse3", "sse4_2"),
    "avx2": _AVX2,
    "avx_vnni": _AVX2,
    "avx512f": _AVX512,
    "avx512_vnni": _AVX512,
    "avx512_vbmi": _AVX512,
    "avx512_bf16": _AVX512,
    "i8mm": ("neon", "dotprod", "fp16"),
    "sve2": ("sve",),
}

# (chip, GPU cores of the collected row) -> (GPU cores, CPU cores, FP16 TFLOPS, RAM) of the variants it leaves out
APPLE_VARIANTS: tuple[tuple[str, int, int, str, float, str], ...] = (
    ("Apple M1", 8, 7, "4+4", 2.3, "8,16"),
    ("Apple M1 Pro", 16, 14, "6+2", 4.6, "16,32"),
    ("Apple M1 Max", 32, 24, "8+2", 7.8, "32,64"),
    ("Apple M1 Ultra", 64, 48, "16+4", 15.9, "64,128"),
    ("Apple M2", 10, 8, "4+4", 2.9, "8,16,24"),
    ("Apple M2 Pro", 19, 16, "6+4", 5.7, "16,32"),
    ("Apple M2 Max", 38, 30, "8+4", 10.7, "32,64,96"),
    ("Apple M2 Ultra", 76, 60, "16+8", 21.5, "64,128,192"),
    ("Apple M3", 10, 8, "4+4", 3.3, "8,16,24"),
    ("Apple M3 Pro", 18, 14, "5+6", 5.0, "18,36"),
    ("Apple M4", 10, 8, "4+4", 3.4, "16,24"),
    ("Apple M5", 10, 8, "4+6", 13.1, "16,24"),
)

# Boost clocks the collected table lacks, in GHz. Apple chips by generation.
BOOST_GHZ = {
    "M1": 3.2, "M2": 3.5, "M3": 4.05, "M4": 4.4, "M5": 4.6,
    "NVIDIA Jetson Nano": 1.43, "NVIDIA Jetson TX2": 2.0, "NVIDIA Jetson Xavier NX 8 GB": 1.9,
    "NVIDIA Jetson AGX Xavier 32 GB": 2.26, "NVIDIA Jetson Orin Nano 4 GB": 1.5, "NVIDIA Jetson Orin Nano 8 GB": 1.5,
    "NVIDIA Jetson Orin NX 8 GB": 2.0, "NVIDIA Jetson Orin NX 16 GB": 2.0, "NVIDIA Jetson AGX Orin 32 GB": 2.2,
    "NVIDIA Jetson AGX Orin 64 GB": 2.2, "Jetson AGX Thor": 2.6, "NVIDIA DGX Spark (GB10)": 3.9,
    "iPad Air M2": 3.5, "iPad Pro M4": 4.4, "MacBook Air M1 8GB": 3.2,
    "Intel Core Ultra 7 155H laptop": 4.8, "Intel Core Ultra 7 258V laptop": 4.8, "Intel Core Ultra 7 255H laptop": 5.1,
    "Intel Core Ultra 5 125U laptop": 4.3, "Intel Core i5-1235U laptop": 4.4, "Intel Core i7-1270P laptop": 4.8,
    "Intel Core i5-1135G7 laptop": 4.2, "Intel Core i7-1165G7 laptop": 4.7,
    "Intel Core i5-8250U office laptop 8GB": 3.4,
    "Intel Core i5-10210U office laptop 8GB": 4.2, "Intel Core i5-4278U MacBook Pro 2014": 3.1, "Surface Book 3": 3.9,
    "Intel N100 mini laptop": 3.4, "AMD Ryzen 5 5500U laptop 8GB": 4.0, "AMD Ryzen 7 5800H laptop": 4.4,
    "AMD Ryzen 7 6800H laptop": 4.7, "AMD Ryzen 7 7840HS laptop/mini-PC": 5.1, "AMD Ryzen 7 8745H mini-PC": 4.9,
    "AMD Ryzen AI 9 HX 370 laptop": 5.1, "AMD Ryzen AI 7 350 laptop": 5.0, "AMD Ryzen AI 5 340 (Framework 13)": 4.8,
    "AMD Ryzen AI Max+ 395 (Framework Desktop etc.)": 5.1, "AMD Ryzen Z1 Extreme handheld": 5.1, "Steam Deck": 3.5,
    "MetaComputing AI PC (CIX CP8180)": 2.6, "Intel Core i7-8700 desktop": 4.6, "Intel Core i5-12400 desktop": 4.4,
    "Intel Core i7-13700K desktop": 5.4, "Intel Core i9-14900K desktop": 6.0, "Intel Core Ultra 7 265K desktop": 5.5,
    "AMD Ryzen 5 5600X desktop": 4.6, "AMD Ryzen 7 5800X3D desktop": 4.5, "AMD Ryzen 9 5950X desktop": 4.9,
    "AMD Ryzen 9 7950X desktop": 5.7, "AMD Ryzen 9 9950X desktop": 5.7, "AMD Threadripper PRO 5975WX": 4.5,
    "Dell Optiplex 780 (Core 2 Quad Q8400)": 2.66, "GMKtec G3 Plus (Intel N150)": 3.6, "AMD EPYC 7352": 3.2,
    "AWS Graviton3 r7g.16xlarge": 2.6, "AmpereOne A192-32X": 3.2, "Raspberry Pi Zero 2 W": 1.0,
    "Raspberry Pi 3B+": 1.4, "Raspberry Pi 4 / 400": 1.8, "Raspberry Pi 5 / CM5 / 500": 2.4,
    "Orange Pi 5 / 5B": 2.4, "Orange Pi 5 Plus / Rock 5B": 2.4, "Rock 5B+ / CM3588 (LPDDR5)": 2.4,
    "Radxa Orion O6 / Minisforum MS-R1 (CIX P1)": 2.6, "Radxa Dragon Q6A": 2.7, "Radxa Dragon Q8B": 3.0,
    "SiFive HiFive Premier P550": 1.4, "DC-ROMA Mainboard II": 1.8, "VisionFive 2": 1.5,
}  # fmt: skip

# Columns the collected table leaves empty and an estimate needs
GAPS: dict[str, dict[str, str]] = {
    "Honor 400 (Snapdragon 7 Gen 3)": {"mem_bandwidth_gbs": "25.6", "gpu_bandwidth_gbs": "25.6"},
    "Surface Book 3": {"gpu_vram_gb": "unified", "gpu_fp16_tflops": "2.0"},
    "Radxa Dragon Q6A": {"mem_bandwidth_gbs": "22.0", "gpu_fp16_tflops": "1.1"},
    "Radxa Dragon Q8B": {
        "soc_or_chip": "Snapdragon 8cx Gen 3", "cpu_cores": "4+4", "cpu_isa_features": "neon,dotprod,fp16",
        "ram_gb_options": "8,16", "memory_type": "LPDDR4X-4266", "mem_bandwidth_gbs": "68.2",
    },
    "DC-ROMA Mainboard II": {"mem_bandwidth_gbs": "102.4", "memory_type": "LPDDR5-6400 128-bit"},
    # The collected figure is that of the V100S; 877 MHz x 4096 bit x 2 is 898 GB/s
    "NVIDIA Tesla V100 SXM2 16 GB": {"gpu_bandwidth_gbs": "898.0", "gpu_fp16_tflops": "31.33"},
    "NVIDIA DGX Spark (GB10)": {
        "soc_or_chip": "GB20B", "cpu_cores": "10+10", "cpu_isa_features": "neon,dotprod,i8mm,bf16,sve2",
    },
    "AMD Ryzen AI 7 350 laptop": {"gpu_fp16_tflops": "12.3"},
    "AMD Ryzen AI 5 340 (Framework 13)": {"gpu_fp16_tflops": "5.9"},
    "Intel Core Ultra 7 255H laptop": {"gpu_fp16_tflops": "37"},
    "Intel Core Ultra 5 125U laptop": {"gpu_fp16_tflops": "4.0"},
    "AMD Ryzen Z1 Extreme handheld": {"gpu_name": "Radeon 780M"},
    "iPhone 17": {"gpu_fp16_tflops": "7.0"},
    "iPhone Air": {"gpu_fp16_tflops": "7.0"},
    "iPhone 17 Pro": {"gpu_fp16_tflops": "8.4"},
}  # fmt: skip

NOT_COLLECTED: tuple[dict[str, object], ...] = (
    {
        "class": "jetson", "name": "NVIDIA Jetson Orin Nano Super 8 GB", "chip": "Jetson Orin Nano Super",
        "aliases": ["NVIDIA Jetson Orin Nano 8GB (25W Super mode)", "Jetson Orin Nano Super",
                    "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"],
        "architecture": "aarch64", "performance_cores": 6, "efficiency_cores": 0, "isa": ["neon", "dotprod", "fp16"],
        "boost_ghz": 1.7, "ram_gb": [8.0], "memory_type": "LPDDR5", "memory_bandwidth_gb_per_s": 102.4,
        "gpu": "Jetson Orin Nano Super", "gpu_vendor": "NVIDIA", "gpu_backend": "cuda", "gpu_fp16_tflops": 17.0,
        "gpu_architecture": "8.7", "year": 2024,
    },
    {
        "class": "sbc", "name": "Banana Pi BPI-F3", "chip": "SpacemiT K1", "architecture": "riscv64",
        "performance_cores": 8, "efficiency_cores": 0, "isa": ["rvv"], "boost_ghz": 1.6,
        "ram_gb": [2.0, 4.0, 8.0, 16.0],
        "memory_type": "LPDDR4X-2666 32-bit", "memory_bandwidth_gb_per_s": 10.6, "year": 2024,
    },
)  # fmt: skip

ALIASES: dict[str, list[str]] = {
    "Raspberry Pi 5 / CM5 / 500": [
        "Raspberry Pi 5", "Raspberry Pi CM5", "Raspberry Pi 500", "Raspberry Pi 500+", "Raspberry Pi Compute Module 5",
    ],
    "Raspberry Pi 4 / 400": ["Raspberry Pi 4", "Raspberry Pi 400", "Raspberry Pi CM4"],
    "Raspberry Pi 3B+": ["Raspberry Pi 3 Model B Plus", "Raspberry Pi 3", "Raspberry Pi 3 Model B"],
    "Orange Pi 5 / 5B": ["Orange Pi 5", "Orange Pi 5B", "Rock 5A", "Khadas Edge 2"],
    "Orange Pi 5 Plus / Rock 5B": ["Radxa Rock 5B", "Orange Pi 5 Max", "Nano Pi R6S", "Radxa ROCK 5T"],
    "Rock 5B+ / CM3588 (LPDDR5)": ["Rock 5B+", "CM3588"],
    "Radxa Orion O6 / Minisforum MS-R1 (CIX P1)": ["Radxa Orion O6", "Minisforum MS-R1", "CIX P1", "CIX CD8180"],
    "GMKtec G3 Plus (Intel N150)": ["GMKtec G3 Plus", "GMKtek G3 Plus", "Intel N150"],
    "Intel N100 mini laptop": ["Intel N100"],
    "Dell Optiplex 780 (Core 2 Quad Q8400)": ["Dell Optiplex 780", "Core 2 Quad Q8400", "C2Q Q8400"],
    "SiFive HiFive Premier P550": ["HiFive Premier P550", "EIC7700X"],
    "AMD Ryzen AI Max+ 395 (Framework Desktop etc.)": [
        "AMD Ryzen AI Max+ 395", "AMD Ryzen AI Max+ PRO 395", "Framework Desktop", "Framework Mainboard (128GB)",
        "Strix Halo", "Ryzen AI Max 395",
    ],
    "AMD Ryzen AI 5 340 (Framework 13)": ["AMD Ryzen AI 5 340"],
    "AMD Ryzen 7 7840HS laptop/mini-PC": ["AMD Ryzen 7 7840HS"],
    "AMD Ryzen Z1 Extreme handheld": ["AMD Ryzen Z1 Extreme", "ROG Ally", "Legion Go"],
    "AMD Ryzen 9 7940HS": ["Radeon 780M (Ryzen 9 7940HS, DDR5-5600)"],
    "Steam Deck": ["AMD Custom APU 0405", "AMD Custom APU 0932", "Steam Deck OLED"],
    "NVIDIA DGX Spark (GB10)": [
        "NVIDIA GB10", "GB10", "DGX Spark", "Nvidia Spark", "Dell Pro Max with GB10", "NVIDIA GB10 (Cortex-A725)",
        "ASUS Ascent GX10",
    ],
    "NVIDIA H100 SXM5 80 GB": ["NVIDIA H100 80GB HBM3", "H100 SXM"],
    "NVIDIA H100 PCIe 80 GB": ["NVIDIA H100 PCIe"],
    "NVIDIA A100 SXM4 80 GB": ["NVIDIA A100-SXM4-80GB", "A100 SXM"],
    "NVIDIA A100 PCIe 80 GB": ["NVIDIA A100 80GB PCIe"],
    "NVIDIA RTX PRO 6000 Blackwell Server": ["NVIDIA RTX PRO 6000 Blackwell Server Edition"],
    "NVIDIA RTX PRO 6000 Blackwell": ["RTX PRO 6000", "NVIDIA RTX PRO 6000 Blackwell Workstation Edition"],
    "NVIDIA GeForce RTX 5090": ["5090"],
    "NVIDIA Jetson AGX Orin 64 GB": ["Jetson AGX Orin", "NVIDIA Jetson AGX Orin Developer Kit", "IGX Orin", "AGX Orin",
                                     "NVIDIA IGX/AGX Orin iGPU"],
    "NVIDIA Jetson Orin Nano 8 GB": ["NVIDIA Jetson Orin Nano Developer Kit", "Jetson Orin Nano"],
    "NVIDIA Jetson Orin NX 16 GB": ["NVIDIA Jetson Orin NX Engineering Reference Developer Kit"],
    "NVIDIA Jetson Nano": ["NVIDIA Jetson Nano Developer Kit", "NVIDIA Jetson Nano 4GB (2019)"],
    "AMD Radeon AI PRO R9700": ["R9700", "AI Pro R9700"],
    "AMD Radeon Instinct MI50": ["AMD Instinct MI50"],
    "Intel Arc A310": ["Arc A310 ECO"],
    "VisionFive 2": ["StarFive VisionFive 2 v1.3B", "StarFive VisionFive 2 v1.2A", "JH7110"],
    "iPhone SE (3rd gen)": ["iPhone SE 3", "iPhone SE 2022"],
    "iPhone 12": ["iPhone 12 mini"],
    "iPhone 13": ["iPhone 13 mini"],
    "iPhone 13 Pro": ["iPhone 13 Pro Max"],
    "iPhone 14": ["iPhone 14 Plus"],
    "iPhone 14 Pro": ["iPhone 14 Pro Max"],
    "iPhone 15": ["iPhone 15 Plus"],
    "iPhone 15 Pro": ["iPhone 15 Pro Max"],
    "iPhone 16": ["iPhone 16 Plus"],
    "iPhone 16 Pro": ["iPhone 16 Pro Max"],
    "iPhone 17 Pro": ["iPhone 17 Pro Max"],
    "Google Pixel 6": ["Google Pixel 6 Pro"],
    "Google Pixel 7": ["Google Pixel 7 Pro", "Google Pixel 7a"],
    "Google Pixel 8": ["Google Pixel 8a"],
    "Google Pixel 9": ["Google Pixel 9a"],
    "Google Pixel 9 Pro": ["Google Pixel 9 Pro XL", "Google Pixel 9 Pro Fold"],
    "Google Pixel 10 Pro": ["Google Pixel 10 Pro XL"],
    "Samsung Galaxy S23": ["Samsung Galaxy S23+", "Samsung Galaxy S23 Ultra", "Galaxy Z Fold5"],
    "Samsung Galaxy S24 Ultra": ["Samsung SM-S928B", "Samsung SM-S928U", "Galaxy S24 (Snapdragon)", "Galaxy Z Fold6"],
    "Samsung Galaxy S25": ["Samsung Galaxy S25+", "Samsung SM-S931B", "Samsung SM-S936B"],
    "Samsung Galaxy S25 Ultra": ["Samsung SM-S938B", "Samsung SM-S938U"],
    "POCO \"myron\" (Snapdragon 8 Elite Gen 5)": ["POCO myron", "POCO F8 Ultra", "Redmi K90 Pro Max"],
    "POCO X7 Pro class (Dimensity 8400, MT6899)": ["POCO X7 Pro", "POCO X7 klee"],
    "vivo X100 (Dimensity 9300)": ["vivo X100", "vivo X100 Pro"],
    "vivo X200 (Dimensity 9400)": ["vivo X200", "vivo X200 Pro"],
    "Honor 400 (Snapdragon 7 Gen 3)": ["Honor 400"],
    "Xiaomi 14": ["Xiaomi 14 Pro", "Xiaomi 14 Ultra", "Xiaomi 23127PN0CG"],
    "Xiaomi 15": ["Xiaomi 15 Pro", "Xiaomi 15 Ultra"],
    "OnePlus 12": ["OnePlus CPH2581", "OnePlus CPH2573"],
    "MacBook Neo (A18 Pro)": ["MacBook Neo"],
    "MacBook Air M1 8GB": ["MacBook Air M1"],
    "iPad (10th gen)": ["iPad 10"],
    "Snapdragon 8 Elite Gen 5": ["Adreno 840"],
    "Snapdragon 8 Elite": ["Adreno 830"],
    "Snapdragon 8 Gen 3": ["Adreno 750"],
    "Snapdragon 8 Gen 2": ["Adreno 740"],
    "Snapdragon 8 Gen 1": ["Adreno 730"],
    "Snapdragon 888": ["Adreno 660"],
    "Snapdragon X Elite": ["Adreno X1-85"],
    "Snapdragon X Plus 8-core": ["Adreno X1-45"],
}  # fmt: skip

# Only ids that stand for one product, or for the integrated GPUs of one chip: most AMD ids are shared by several cards.
PCI_IDS: dict[str, list[str]] = {
    "AMD Radeon 780M": ["1002:15bf", "1002:1900", "1002:1901"],
    "AMD Radeon 680M": ["1002:1681"],
    "AMD Radeon 890M": ["1002:150e"],
    "AMD Radeon 860M": ["1002:1114"],
    "AMD Radeon 8060S": ["1002:1586"],
    "Intel Arc A770": ["8086:56a0"],
    "Intel Arc A750": ["8086:56a1"],
    "Intel Arc A580": ["8086:56a2"],
    "Intel Arc A380": ["8086:56a5"],
    "Intel Arc A310": ["8086:56a6"],
    "Intel Arc A770M": ["8086:5690"],
    "Intel Arc B580": ["8086:e20b"],
    "Intel Arc B570": ["8086:e20c"],
}
