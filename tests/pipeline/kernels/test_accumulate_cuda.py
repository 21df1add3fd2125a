from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from flows import doctor
from pipeline.kernels import engine
from pipeline.kernels.accumulate import EMPTY, PointGroups, freeze
from pipeline.kernels.engine import AccumulateEngineError, Choice, GpuFinding, check_gpu, choose_engine, projecting
from pipeline.kernels.engine_check import difference_of, made_up_scene
from pipeline.kernels.engine_numba import projecting_on_cpu

NO_GPU = GpuFinding(False, False, False, "no NVIDIA GPU with a driver was found (none)")
BROKEN = GpuFinding(False, False, True, "CUDA's compiler (libnvvm) was not found: run: pip install it")
GOOD = GpuFinding(True, False, True, "NVIDIA H200")
SIMULATED = GpuFinding(True, True, False, "no GPU: numba simulates one (NUMBA_ENABLE_CUDASIM)")


def run_python(code: str, **variables: str) -> str:
    """Run code in a new process; kernels are simulated there if NUMBA_ENABLE_CUDASIM is given, which numba reads at import."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "DEPTHMILL_ACC"))}
    done = subprocess.run(
        [sys.executable, "-W", "ignore::RuntimeWarning", "-c", textwrap.dedent(code)],
        env={**environment, **variables}, cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def simulated(code: str, **variables: str) -> str:
    return run_python(code, NUMBA_ENABLE_CUDASIM="1", **variables)


@pytest.fixture
def found_gpu(monkeypatch):
    """Let the process find what a test says."""
    engine._warn_once.cache_clear()
    monkeypatch.delenv(engine.ENGINE_VARIABLE, raising=False)

    def find(finding: GpuFinding) -> None:
        monkeypatch.setattr(engine, "gpu_of_process", lambda: finding)

    yield find
    engine._warn_once.cache_clear()


def test_cuda_kernel_when_simulated_then_gives_the_bits_of_the_cpu():
    out = simulated("""
        from pipeline.kernels.engine import check_gpu
        from pipeline.kernels.engine_check import difference_of, made_up_scene
        from pipeline.kernels.accumulate_cuda import projecting_on_gpu
        from pipeline.kernels.engine_numba import projecting_on_cpu
        import numpy as np
        print(check_gpu(600))  # two blocks a group, the second one short
        scene = made_up_scene(30, seed=1)
        size = {"height": scene.height, "width": scene.width}
        out = np.full(scene.height * scene.width, 7, np.uint16)
        with projecting_on_gpu(scene.groups, **size) as gpu, projecting_on_cpu(scene.groups, **size) as cpu:
            for some in (slice(1), slice(1, 3), slice(0)):  # other groups of the same scene; none at all
                part = scene._replace(chosen=scene.chosen[some], matrices=scene.matrices[some], planes=scene.planes[some])
                print(difference_of(cpu, gpu, scene=part))
            print(gpu(scene.chosen[:0], scene.matrices[:0], scene.planes[:0], out), out.max())
    """)
    assert out.splitlines() == ["None"] * 4 + ["0 0"]


def test_check_when_the_compiler_fuses_products_and_sums_then_finds_it():
    out = simulated("""
        import numpy as np
        from pipeline.kernels import accumulate_cuda
        from pipeline.kernels.engine import check_gpu
        def fused(a, b, c):
            return np.float32(np.float64(a) * np.float64(b) + np.float64(c))
        accumulate_cuda._affine = lambda a, b, c, d, x, y, z: fused(c, z, fused(b, y, a * x)) + d
        print(check_gpu(60))
    """)
    assert re.fullmatch(r"\d+ of 11520 pixels of a made-up scene differ, and \[\d+, \d+\] and \[\d+, \d+\] were measured", out)


def test_project_frames_when_cuda_is_forced_then_is_equal_and_frees_the_scene():
    out = simulated(
        """
        import gc
        import numpy as np
        from tests.pipeline.kernels import test_accumulate as t
        from pipeline.kernels import accumulate_cuda
        from pipeline.kernels.project_frames import project_frames
        from pipeline.kernels.scene_points import read_scene_points
        rows = [t.sweep_row(k, x=0.5 * k, is_keyframe=k == 0) for k in range(3)]
        boxes = t.boxes_of([[620.0, 1600.0, 0.8], [625.0, 1600.0, 0.8]], speed=10.0)
        sweeps = t.random_sweeps(3, 3, 300)
        for sweep in sweeps:
            sweep[:100, :3] = np.random.default_rng(0).uniform([-0.9, 18.0, -1.7], [0.9, 21.0, -0.4], (100, 3))
        points = read_scene_points(t.Reader(sweeps), rows, boxes, moving="carry")
        frames, windows = [t.keyframe_row(), t.keyframe_row(x=1.0)], [[range(0, 2)], [range(1, 3)]]
        found = [
            project_frames(points, frames, windows, height=30, width=60, engine=engine) for engine in (None, "numba")
        ]
        print(np.array_equal(found[0].steps, found[1].steps), np.array_equal(found[0].num_measured, found[1].num_measured))
        print(found[0].num_measured.min() > 20, (points.groups.instance >= 0).any(), len(accumulate_cuda._on_device))
        del points
        gc.collect()
        print(len(accumulate_cuda._on_device))
        """,
        DEPTHMILL_ACCUMULATE_ENGINE="cuda",
    )
    assert out.splitlines() == ["True True", "True True 1", "0"]


def test_kernels_when_compiled_then_hold_no_fused_operation(monkeypatch):
    nvvm = pytest.importorskip("numba.cuda.cudadrv.nvvm")
    if not nvvm.is_available():
        pytest.skip("CUDA's compiler (libnvvm) is not installed")
    from numba import cuda, float32, int32, int64, uint32, void
    from numba.cuda import dispatcher

    from pipeline.kernels.accumulate_cuda import _project

    monkeypatch.setattr(dispatcher, "get_current_device", lambda: type("Device", (), {"compute_capability": (8, 0)}))
    table, index = float32[:, ::1], int32[::1]
    kinds = void(table, index, int64[::1], table, index, float32[:, :, ::1], float32, float32, int64, int64, uint32[::1])
    ptx = cuda.compile_ptx(_project.py_func, kinds, cc=(8, 0))[0]
    operations = set(re.findall(r"\b(?:fma|mad|mul|add|sub|div|rcp)[.a-z]*\.f(?:32|64)\b", ptx))
    assert operations == {"mul.rn.f32", "add.rn.f32", "div.rn.f32"}  # rounded for themselves: ptxas may not fuse them either
    assert ".ftz" not in ptx
    assert "atom.global.min.u32" in ptx


def test_choice_when_there_is_no_gpu_then_is_the_cpu_without_a_word(found_gpu, capsys):
    found_gpu(NO_GPU)
    assert choose_engine() == Choice("numba", True, "compiled CPU kernels")
    assert capsys.readouterr().err == ""


def test_choice_when_the_gpu_cannot_be_used_then_warns_once_and_says_why(found_gpu, capsys):
    found_gpu(BROKEN)
    assert choose_engine().engine == choose_engine().engine == "numba"
    expected = "warning: LiDAR is accumulated on the CPU: CUDA's compiler (libnvvm) was not found: run: pip install it\n"
    assert capsys.readouterr().err == expected


def test_choice_when_the_gpu_is_good_then_is_the_gpu_unless_told_otherwise(found_gpu, monkeypatch):
    found_gpu(GOOD)
    assert choose_engine() == Choice("cuda", True, "NVIDIA H200")
    assert engine.engine_choices()[1] == Choice("numba", True, "compiled CPU kernels")
    monkeypatch.setenv("DEPTHMILL_ACCUMULATE_ENGINE", "numba")
    assert choose_engine() == Choice("numba", True, "forced; compiled CPU kernels")
    assert engine.engine_choices()[1] == Choice("cuda", True, "NVIDIA H200")
    assert choose_engine("cuda") == Choice("cuda", True, "forced; NVIDIA H200")


def test_choice_when_the_gpu_is_simulated_then_is_taken_only_if_forced(found_gpu):
    found_gpu(SIMULATED)
    assert choose_engine().engine == "numba"
    assert choose_engine("cuda").engine == "cuda"


def test_choice_when_cuda_is_forced_without_a_gpu_then_says_what_to_do(found_gpu, monkeypatch):
    found_gpu(NO_GPU)
    monkeypatch.setenv("DEPTHMILL_ACCUMULATE_ENGINE", "cuda")
    with pytest.raises(AccumulateEngineError) as caught:
        choose_engine()
    assert str(caught.value) == (
        "accumulation engine 'cuda' cannot be used: no NVIDIA GPU with a driver was found (none). "
        "Or leave the choice to depthmill (unset DEPTHMILL_ACCUMULATE_ENGINE): the CPU gives the same result"
    )
    monkeypatch.setenv("DEPTHMILL_ACCUMULATE_ENGINE", "gpu")
    with pytest.raises(AccumulateEngineError) as caught:
        choose_engine()
    assert str(caught.value) == (
        "accumulation engine 'gpu' does not exist; expected auto or one of cuda, numba (DEPTHMILL_ACCUMULATE_ENGINE)"
    )


@pytest.mark.parametrize(
    ("trouble", "expected", "is_there"),
    [
        ({"cuda_error": "driver\n too old. Try this"}, "no NVIDIA GPU with a driver was found (driver too old)", False),
        ({"is_available": False}, "CUDA's compiler (libnvvm) was not found: run: pip install 'depthmill[gpu]'", True),
        ({"check": OSError("no nvJitLink")}, "the GPU does not run the kernel (OSError: no nvJitLink): run: pip install", True),
        ({"check": "3 of 9 pixels differ"}, "the GPU does not give the CPU's bits: 3 of 9 pixels differ. Please report", True),
    ],
)
def test_look_when_something_is_in_the_way_then_names_it(monkeypatch, trouble, expected, is_there):
    from numba import cuda

    def check() -> str:
        if isinstance(trouble["check"], Exception):
            raise trouble["check"]
        return trouble["check"]

    monkeypatch.setattr(cuda, "cuda_error", lambda: trouble.get("cuda_error"))
    monkeypatch.setattr(cuda, "is_available", lambda: trouble.get("is_available", True))
    monkeypatch.setattr(engine, "check_gpu", check)
    found = engine._look_for_gpu.__wrapped__(1)
    assert found.says.startswith(expected)
    assert (found.is_usable, found.is_there) == (False, is_there)


def test_look_when_the_process_is_another_then_looks_again(monkeypatch):
    seen = []
    monkeypatch.setattr(engine, "_look_for_gpu", lambda process: seen.append(process) or NO_GPU)
    engine.gpu_of_process()
    monkeypatch.setattr(os, "getpid", lambda: -5)
    engine.gpu_of_process()
    assert seen[1] == -5 != seen[0]


@pytest.mark.parametrize("wanted", [None, "cuda"])
def test_gpu_when_it_has_no_room_for_a_scene_then_the_cpu_takes_it_unless_forced(found_gpu, monkeypatch, capsys, wanted):
    from numba.cuda.cudadrv.driver import CudaAPIError

    from pipeline.kernels import accumulate_cuda

    def full(*_, **__):
        raise CudaAPIError(2, "Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY")

    found_gpu(GOOD)
    monkeypatch.setattr(accumulate_cuda, "projecting_on_gpu", full)
    scene = made_up_scene(50)
    size = {"height": scene.height, "width": scene.width}
    if wanted:
        with (
            pytest.raises(AccumulateEngineError, match="failed: CudaAPIError: .*OUT_OF_MEMORY. Run again with fewer workers"),
            projecting(scene.groups, **size, engine=wanted),
        ):
            pass
        return
    with projecting(scene.groups, **size) as project, projecting_on_cpu(scene.groups, **size) as on_cpu:
        assert difference_of(on_cpu, project, scene=scene) is None
    assert "the GPU did not take the points of a scene (CudaAPIError" in capsys.readouterr().err


def test_gpu_when_it_fails_within_a_scene_then_says_what_to_do(found_gpu, monkeypatch):
    from numba.cuda.cudadrv.driver import CudaAPIError

    from pipeline.kernels import accumulate_cuda

    found_gpu(GOOD)
    monkeypatch.setattr(accumulate_cuda, "projecting_on_gpu", projecting_on_cpu)
    scene = made_up_scene(10)
    with (
        pytest.raises(AccumulateEngineError, match="failed: CudaAPIError.*or with DEPTHMILL_ACCUMULATE_ENGINE=numba"),
        projecting(scene.groups, height=48, width=80),
    ):
        raise CudaAPIError(700, "an illegal memory access")


def test_import_when_the_engine_is_the_cpu_then_loads_nothing_of_cuda():
    code = """
        import sys
        from pipeline.kernels.project_frames import project_frames
        from pipeline.kernels.engine import choose_engine
        print(choose_engine("numba").engine, "numba.cuda" in sys.modules)
    """
    assert run_python(code) == "numba False"


def test_doctor_when_asked_then_names_the_engine_of_accumulation(found_gpu, monkeypatch):
    found_gpu(GOOD)
    assert doctor._accumulation() == [
        ("accumulate cuda", True, "used: NVIDIA H200; surface: front and behind_moving: drop by compiled CPU kernels", False),
        ("accumulate numba", True, "usable: compiled CPU kernels", False),
    ]
    found_gpu(NO_GPU)
    assert doctor._accumulation() == [
        ("accumulate numba", True, "used: compiled CPU kernels", False),
        ("accumulate cuda", True, f"no: {NO_GPU.says}", True),
    ]
    monkeypatch.setenv("DEPTHMILL_ACCUMULATE_ENGINE", "cuda")
    (finding,) = doctor._accumulation()
    assert (finding.about, finding.is_ok) == ("accumulate", False)
    assert finding.says.startswith("accumulation engine 'cuda' cannot be used: no NVIDIA GPU")


def _large_scene(num_groups: int = 60, size: int = 30_000):
    """A scene of the size of nuScenes': the made-up one's poses, its points spread over many groups."""
    rng = np.random.default_rng(5)
    small = made_up_scene(10)
    groups = PointGroups(np.empty((3, num_groups * size), np.float32))
    for number in range(num_groups):
        azimuth = np.sort(rng.uniform(-np.pi, np.pi, size))
        distance = rng.uniform(0.5, 120, size)
        points = np.column_stack([distance * np.sin(azimuth), distance * np.cos(azimuth), rng.uniform(-4, 6, size)])
        groups.add_sweep(points.astype(np.float32), np.zeros((0, 3, 4)), np.zeros((0, 3)), sweep=number)
    place = np.arange(num_groups) % len(small.chosen)
    return small._replace(
        groups=freeze(groups), chosen=rng.permutation(num_groups), matrices=small.matrices[place], planes=small.planes[place]
    )


@pytest.mark.gpu
def test_cuda_kernel_when_on_a_gpu_then_gives_the_bits_of_the_cpu():
    if not engine.gpu_of_process().is_there:
        pytest.skip("no GPU")
    from numba import cuda

    from pipeline.kernels.accumulate_cuda import projecting_on_gpu

    assert check_gpu(200_000) is None
    scene = _large_scene()
    size = {"height": scene.height, "width": scene.width}
    with projecting_on_gpu(scene.groups, **size) as on_gpu, projecting_on_cpu(scene.groups, **size) as on_cpu:
        out = np.full(scene.height * scene.width, EMPTY, np.uint16)
        assert on_gpu(scene.chosen, scene.matrices, scene.planes, out) > 0.5 * len(out)
        assert difference_of(on_cpu, on_gpu, scene=scene) is None
    del on_gpu, on_cpu
    before = cuda.current_context().get_memory_info().free
    num_bytes = scene.groups.xyz_m.nbytes
    del scene
    gc.collect()
    assert cuda.current_context().get_memory_info().free >= before + num_bytes // 2
