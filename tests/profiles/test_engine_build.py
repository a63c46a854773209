"""Which build of the engine a device gets, over recorded machines and made-up tools."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path

import msgspec
import pytest

from profiles.detect import detect
from profiles.device import Accelerator, Cpu, Device
from profiles.engine.build import REQUIREMENT, BuildPlan, plan_build
from profiles.engine.fit import (
    emitted_by,
    engine_features,
    gpu_backends,
    older_than_required,
    unused_features,
)
from profiles.engine.protocol import EngineDevice, EngineVersion
from profiles.engine.toolchain import Compiler, Python, Toolchain, find_toolchain
from tests.profiles.recordings import machine

ARM = Python(executable="/opt/slm/bin/python", pip=("/opt/slm/bin/python", "-m", "pip"), machine="aarch64")
X86 = msgspec.structs.replace(ARM, machine="x86_64")
GCC = Compiler(family="gcc", major=12)
PLAIN = Toolchain(python=X86, compiler=GCC, package_manager="apt-get")
CUDA = msgspec.structs.replace(PLAIN, nvcc="/usr/local/cuda/bin/nvcc", cuda=(12, 6))


def tools(base: Toolchain = PLAIN, **changes: object) -> Toolchain:
    return msgspec.structs.replace(base, **changes)


def plan(name: str, folder: Path, with_: Toolchain, backend: str = "auto") -> BuildPlan:
    return plan_build(detect(machine(name, folder)), with_, backend)  # type: ignore[arg-type]


def missing(plan: BuildPlan) -> str:
    return "\n".join(f"{m.what}: {m.install}" for m in plan.missing)


def card(capability: str, driver: str = "580.1") -> Device:
    return Device(
        accelerators=(
            Accelerator(
                name="a card", vendor="NVIDIA", backend="cuda", compute_capability=capability, driver=driver
            ),
        )
    )


def test_a_raspberry_pi_is_built_for_its_own_processor(tmp_path: Path) -> None:
    found = plan("raspberry-pi-5", tmp_path, tools(python=ARM))
    assert (found.backend, found.missing, found.better) == ("cpu", (), None)
    assert found.cmake_args == ("-DGGML_NATIVE=ON", "-DLLAVA_BUILD=OFF")
    assert found.minutes[0] > 3  # four slow cores


def test_a_geforce_with_the_toolkit_gets_cuda_for_its_generation(tmp_path: Path) -> None:
    found = plan("desktop-rtx-4090", tmp_path, CUDA)
    assert (found.backend, found.missing, found.better) == ("cuda", (), None)
    assert "-DCMAKE_CUDA_ARCHITECTURES=89" in found.cmake_args
    assert found.environment["CUDACXX"] == "/usr/local/cuda/bin/nvcc"


def test_without_the_toolkit_the_processor_is_used_and_the_toolkit_named(tmp_path: Path) -> None:
    found = plan("desktop-rtx-4090", tmp_path, PLAIN)
    assert found.backend == "cpu"
    assert not found.missing
    assert found.better is not None
    assert found.better.backend == "cuda"
    assert "CUDA toolkit" in missing(found.better)


def test_without_the_toolkit_vulkan_is_taken_where_its_tools_are_there(tmp_path: Path) -> None:
    found = plan("desktop-rtx-4090", tmp_path, tools(vulkan=True))
    assert found.backend == "vulkan"
    assert found.better is not None
    assert found.better.backend == "cuda"


def test_a_radeon_gets_rocm_and_else_vulkan(tmp_path: Path) -> None:
    rocm = tools(rocm=(6, 4), hip_clang="/opt/rocm/lib/llvm/bin/clang", hip_path="/opt/rocm")
    found = plan("desktop-rx-7900-xtx", tmp_path / "a", rocm)
    assert (found.backend, found.missing) == ("hip", ())
    assert "-DGPU_TARGETS=gfx1100" in found.cmake_args
    assert found.environment["HIPCXX"].endswith("clang")
    assert plan("desktop-rx-7900-xtx", tmp_path / "b", tools(vulkan=True)).backend == "vulkan"


def test_a_gpu_that_rocm_has_no_libraries_for_is_not_given_rocm(tmp_path: Path) -> None:
    rocm = tools(rocm=(6, 4), hip_clang="/opt/rocm/lib/llvm/bin/clang")
    gpu = Accelerator(name="Radeon 680M", vendor="AMD", shared_memory=True, compute_capability="gfx1035")
    device = Device(accelerators=(gpu,))
    assert plan_build(device, rocm).backend == "cpu"
    assert "gfx1035" in missing(plan_build(device, rocm, "hip"))


def test_a_radeon_newer_than_rocm_is_told_which_release_knows_it() -> None:
    rocm = tools(rocm=(6, 2), hip_clang="/opt/rocm/lib/llvm/bin/clang")
    gpu = Accelerator(name="RX 9070", vendor="AMD", compute_capability="gfx1201")
    assert "ROCm 6.3 or newer (6.2 is here)" in missing(plan_build(Device(accelerators=(gpu,)), rocm, "hip"))


def test_an_arc_gets_sycl_once_oneapi_is_active() -> None:
    arc = Device(accelerators=(Accelerator(name="Arc A770", vendor="Intel", shared_memory=False),))
    asleep = plan_build(arc, tools(oneapi_installed=True, vulkan=True))
    assert asleep.backend == "vulkan"
    assert asleep.better is not None
    assert "setvars.sh" in missing(asleep.better)
    awake = plan_build(arc, tools(oneapi_installed=True, oneapi_active=True))
    assert awake.backend == "sycl"
    assert "-DCMAKE_CXX_COMPILER=icpx" in awake.cmake_args


def test_an_integrated_gpu_is_left_alone_and_the_reason_given(tmp_path: Path) -> None:
    found = plan("laptop-intel-hybrid", tmp_path, tools(vulkan=True))
    assert (found.backend, found.better) == ("cpu", None)
    assert any("same memory" in reason for reason in found.reasons)


def test_a_mac_gets_metal_and_a_translated_python_is_found_out(tmp_path: Path) -> None:
    python = msgspec.structs.replace(ARM, platform="darwin", machine="arm64")
    xcode = Compiler(family="apple-clang", major=16)
    mac = tools(python=python, system="darwin", compiler=xcode, package_manager="xcode-select")
    found = plan("mac-m2-pro", tmp_path / "a", mac)
    assert (found.backend, found.missing) == ("metal", ())
    rosetta = tools(mac, python=msgspec.structs.replace(python, machine="x86_64"))
    assert "arm64 Python" in missing(plan("mac-m2-pro", tmp_path / "b", rosetta))
    bare = tools(mac, compiler=None)
    assert "xcode-select --install" in missing(plan("mac-m2-pro", tmp_path / "c", bare))


def test_a_phone_compiles_for_its_processor_with_what_its_memory_allows(tmp_path: Path) -> None:
    termux = tools(
        python=ARM, system="android", package_manager="pkg", compiler=Compiler(family="clang", major=18)
    )
    found = plan("phone-snapdragon-8-gen-3", tmp_path / "a", termux)
    assert (found.backend, found.missing) == ("cpu", ())
    assert any("opencl" in reason for reason in found.reasons)
    device = detect(machine("phone-snapdragon-8-gen-3", tmp_path / "b"))
    assert found.jobs <= max(1, (device.memory.budget_now_bytes or 0) // 10**9)
    refused = tools(termux, python=msgspec.structs.replace(ARM, platform="android"), cmake_and_ninja=False)
    assert "'android'" in missing(plan("phone-snapdragon-8-gen-3", tmp_path / "c", refused))
    assert "pkg install clang cmake ninja" in missing(
        plan("phone-snapdragon-8-gen-3", tmp_path / "d", refused)
    )


def test_a_virtual_machine_without_a_gpu_gets_a_build_for_its_processor(tmp_path: Path) -> None:
    found = plan("vm-epyc-cgroup-v1", tmp_path, CUDA)
    assert (found.backend, found.better, found.missing) == ("cpu", None, ())


@pytest.mark.parametrize(
    ("capability", "toolkit", "driver", "wanted"),
    [
        ("12.0", (12, 6), "570.1", "CUDA 12.8 or newer"),
        ("12.1", (12, 8), "570.1", "CUDA 12.9 or newer"),
        ("11.0", (12, 9), "570.1", "CUDA 13.0 or newer"),
        ("6.1", (13, 0), "580.1", "CUDA before 13.0"),
        ("3.5", (12, 8), "570.1", "CUDA before 12.0"),
        ("8.9", (13, 0), "550.54", "driver 580"),
        ("8.9", (11, 0), "550.54", "newer CUDA toolkit"),
    ],
    ids=[
        "card too new",
        "card of a later minor release",
        "card numbered between older ones",
        "card too old",
        "card much too old",
        "driver too old",
        "toolkit too old",
    ],
)
def test_card_toolkit_and_driver_must_know_each_other(
    capability: str, toolkit: tuple[int, int], driver: str, wanted: str
) -> None:
    found = plan_build(card(capability, driver), tools(CUDA, cuda=toolkit), "cuda")
    assert wanted in missing(found)


def test_a_card_nobody_knows_yet_is_left_to_the_compiler() -> None:
    assert plan_build(card("14.0"), tools(CUDA, cuda=(14, 0)), "cuda").missing == ()


def test_without_a_card_the_build_is_for_all_that_the_toolkit_and_the_kernels_know() -> None:
    def targets(*cuda: int) -> str:
        return plan_build(Device(), tools(CUDA, cuda=cuda), "cuda").cmake_args[-1]

    assert targets(11, 4).endswith("=50-virtual;61-virtual;70-virtual;75-virtual;80-virtual;86-real")
    assert targets(13, 0).endswith("=75-virtual;80-virtual;86-real;89-real;90-virtual;120a-real;121a-real")


def test_a_compiler_too_new_for_nvcc_is_replaced_by_an_older_one_beside_it() -> None:
    new = tools(CUDA, compiler=Compiler(family="gcc", major=15))
    assert "gcc 13 or older" in missing(plan_build(card("8.9"), new, "cuda"))
    both = tools(new, host_gccs=(12, 13, 14, 15))
    found = plan_build(card("8.9"), both, "cuda")
    assert not found.missing
    assert found.environment["CUDAHOSTCXX"] == "g++-13"


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"externally_managed": True}, "pipx install slm-advisor"),
        ({"pip": None}, "-m ensurepip"),
        ({"bits": 32}, "64-bit Python"),
    ],
    ids=["PEP 668", "no pip", "32 bits"],
)
def test_a_python_that_cannot_be_installed_into_is_said_with_the_way_out(
    change: dict[str, object], wanted: str
) -> None:
    python = msgspec.structs.replace(X86, **change)
    assert wanted in missing(plan_build(Device(), tools(python=python)))


def test_the_command_installs_into_the_running_interpreter_whoever_made_its_environment() -> None:
    uv = msgspec.structs.replace(X86, pip=("/usr/bin/uv", "tool", "run", "pip", "--python", "/x/bin/python"))
    found = plan_build(Device(), tools(python=uv), replaces=True)
    words = shlex.split(found.command)
    assert words[0] == "CMAKE_ARGS=-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF"
    assert "--python /x/bin/python install" in found.command
    # pip would else take the wheel it made last time, whatever CMAKE_ARGS say.
    assert {"--no-cache-dir", "--force-reinstall", REQUIREMENT} <= set(words)


def test_a_build_for_a_processor_with_tiles_leaves_them_out_and_says_so() -> None:
    """The engine's kernels for AMX abort, or compute wrongly, for some models."""
    tiles, plain = (Device(cpu=Cpu(isa=isa)) for isa in (("avx512_vnni", "amx_tile", "amx_int8"), ("avx2",)))
    found = plan_build(tiles, PLAIN)
    for language in ("C", "CXX"):
        assert f"-DCMAKE_{language}_FLAGS_INIT=-U__AMX_INT8__" in found.cmake_args
    assert any("AMX" in reason for reason in found.reasons)
    assert not any(
        "AMX" in each for each in (*plan_build(plain, PLAIN).cmake_args, *plan_build(plain, PLAIN).reasons)
    )


def test_what_the_user_set_in_the_environment_wins() -> None:
    own = tools(CUDA, cmake_args="-DGGML_CUDA_FA_QUANTS=all '-DX=a b'", jobs=3)
    found = plan_build(card("8.9"), own, "cuda")
    assert found.cmake_args[-2:] == ("-DGGML_CUDA_FA_QUANTS=all", "-DX=a b")
    assert shlex.split(found.environment["CMAKE_ARGS"]) == list(found.cmake_args)
    assert found.environment["CMAKE_BUILD_PARALLEL_LEVEL"] == "3"


def test_the_plan_asks_for_what_the_engine_extra_asks_for() -> None:
    project = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text("utf-8"))
    assert REQUIREMENT in project["project"]["optional-dependencies"]["engine"]


def test_the_tools_of_this_machine_can_be_looked_for() -> None:
    found = find_toolchain()
    assert found.python.executable
    assert found.python.bits in (32, 64)


# --- does a build use what there is ---------------------------------------------------------------------------

GENERIC = EngineVersion(
    "0.3.36", features="CPU : SSE3 = 1 | AVX = 1 | OPENMP = 1 | CUDA : ARCHS = 750,890 | USE_GRAPHS = 1 |"
)


def test_the_engines_line_is_read_backend_by_backend() -> None:
    assert engine_features(GENERIC) == {
        "CPU": {"SSE3": "1", "AVX": "1", "OPENMP": "1"},
        "CUDA": {"ARCHS": "750,890", "USE_GRAPHS": "1"},
    }
    assert engine_features(EngineVersion("0.3.36")) == {}


def test_a_generic_build_leaves_features_unused_and_an_unknown_processor_says_nothing() -> None:
    cpu = Cpu(isa=("sse3", "sse4_2", "avx", "avx2", "avx512_vnni"))
    assert unused_features(Device(cpu=cpu), GENERIC) == ("AVX2", "AVX512_VNNI")
    assert unused_features(Device(cpu=Cpu(isa=("neon", "i8mm", "sve2"))), GENERIC) == ("NEON", "MATMUL_INT8")
    assert unused_features(Device(), GENERIC) is None


def test_an_old_compiler_is_not_asked_for_what_it_does_not_know() -> None:
    assert not emitted_by(Compiler(family="gcc", major=9), "AVX_VNNI")
    assert emitted_by(Compiler(family="gcc", major=11), "AVX_VNNI")
    assert emitted_by(None, "AVX_VNNI")


def test_backends_are_called_by_the_names_that_install_takes() -> None:
    gpus = [("ROCm0", "ROCm"), ("MTL0", "MTL"), ("Vulkan0", "Vulkan")]
    devices = tuple(EngineDevice(name=n, description="a GPU", kind="gpu", backend=b) for n, b in gpus)
    assert gpu_backends(EngineVersion("0.3.36", devices=devices)) == ("hip", "metal", "vulkan")


def test_versions_are_compared_as_numbers() -> None:
    assert older_than_required("0.3.9")
    assert not older_than_required("0.3.36")
    assert not older_than_required("0.10.0")
    assert not older_than_required("unknown")
