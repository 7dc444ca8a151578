"""Headers, the cache of compiled kernels, and, where NVRTC is installed, that every kernel compiles."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from pathlib import Path

import pytest

from realizar.errors import BackendUnavailable
from realizar_cuda.compiler import SOURCES, Compiler, headers
from realizar_cuda.cubin_cache import KEPT_S, CubinCache, default_directory
from realizar_cuda.headers import NEEDED, include_directory
from realizar_cuda.kernels import FORMATS, kernel_name
from realizar_cuda.planes import REPACK


def toolkit(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in NEEDED:
        (folder / name).write_text("")
    return folder


class TestHeaders:
    def test_what_the_user_chose_comes_first(self, tmp_path, monkeypatch):
        chosen, site = toolkit(tmp_path / "cuda/include"), toolkit(tmp_path / "site/nvidia/cu13/include")
        monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
        assert include_directory(13, {"CUDA_PATH": str(tmp_path / "cuda")}, tmp_path) == chosen
        assert include_directory(13, {}, tmp_path) == site

    def test_conda(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sys, "path", [])
        folder = toolkit(tmp_path / "targets/x86_64-linux/include")
        assert include_directory(12, {}, tmp_path) == folder
        assert include_directory(12, {"CONDA_PREFIX": str(tmp_path)}, tmp_path / "other") == folder

    def test_nowhere(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sys, "path", [])
        monkeypatch.setattr(Path, "is_file", lambda path: False)
        with pytest.raises(BackendUnavailable, match=r"cuda_fp16.h.*not found in .*CUDA_PATH"):
            include_directory(12, {}, tmp_path)


class TestCache:
    def test_what_was_written_is_read(self, tmp_path):
        cache = CubinCache(tmp_path / "cuda")
        assert cache.read("key") is None
        cache.write("key", b"code")
        assert CubinCache(tmp_path / "cuda").read("key") == b"code"

    def test_damage_counts_as_absence(self, tmp_path):
        cache = CubinCache(tmp_path / "cuda")
        cache.write("key", b"code")
        (file,) = cache.directory.iterdir()
        file.write_bytes(file.read_bytes()[:-1] + b"x")
        assert cache.read("key") is None

    @pytest.mark.skipif(not hasattr(os, "getuid"), reason="modes are POSIX")
    def test_a_directory_that_others_may_write_is_not_used(self, tmp_path):
        folder = tmp_path / "cuda"
        folder.mkdir()
        folder.chmod(0o777)
        cache = CubinCache(folder)
        assert cache.problem is not None and "chmod 700" in cache.problem
        cache.write("key", b"code")
        assert cache.read("key") is None and not list(folder.iterdir())

    def test_a_file_in_its_place(self, tmp_path):
        (tmp_path / "cuda").write_text("")
        assert CubinCache(tmp_path / "cuda").problem

    def test_what_nobody_uses_is_deleted(self, tmp_path):
        cache = CubinCache(tmp_path / "cuda")
        cache.write("key", b"code")
        (file,) = cache.directory.iterdir()
        os.utime(file, (0, time.time() - KEPT_S - 1))
        assert CubinCache(tmp_path / "cuda").read("key") is None

    def test_a_disk_that_fails_is_said_once(self, tmp_path, monkeypatch):
        cache = CubinCache(tmp_path / "cuda")
        monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        cache.write("key", b"code")
        assert cache.problem is not None and "No space left" in cache.problem

    def test_where_it_is(self, monkeypatch):
        monkeypatch.setenv("REALIZAR_HOME", "/somewhere")
        assert default_directory() == Path("/somewhere/cuda")
        monkeypatch.delenv("REALIZAR_HOME")
        assert default_directory().name == "cuda"


def test_sources_include_only_what_is_there():
    for path in SOURCES.glob("*.cu*"):
        for line in path.read_text().splitlines():
            if line.startswith('#include "'):
                assert line.split('"')[1] in headers(), f"{path.name}: {line}"


def test_every_kernel_is_in_the_file_that_it_is_looked_for_in():
    for name in FORMATS:
        text = (SOURCES / f"{kernel_name(name).file}.cu").read_text()
        assert f" {name}(" in text, name


has_nvrtc = importlib.util.find_spec("cupy") is not None

COMPILED = (
    "gemv<Q4_K, 128, 1, 2, 4, GATED>", "gemv<F16, 0, 1, 2, 8, STORE>", "tile_product<Q6_K, 4, 2, ADD>", "tile_rows",
    "attention<KvQ8_0, 40, 2, 16>", "prompt_attention<KvF16, 64, 16>", "heads<KvBF16, 64, 16>",
    "cache_write<KvF32, 20, 16>", "rope", "rms_norm", "layer_norm", "gather_rows", "half_rows", "route", "combine",
    *(f"elementwise<{i}>" for i in range(6)), *(f"dequantize<{kind}>" for kind in REPACK),
    *(f"embed_quantized<{kind}>" for kind in REPACK), "embed_plain<BF16>",
)  # fmt: skip


@pytest.mark.skipif(not has_nvrtc, reason="NVRTC comes with cupy, which is not installed")
@pytest.mark.parametrize("name", COMPILED)
def test_kernels_compile(name, tmp_path_factory):
    try:
        compiler = Compiler((9, 0), CubinCache(tmp_path_factory.getbasetemp() / "cuda"))
    except BackendUnavailable as error:
        pytest.skip(str(error))
    symbol, code = compiler.compile(kernel_name(name))
    assert symbol and code[:4] == b"\x7fELF"
    assert compiler.compile(kernel_name(name)) == (symbol, code)


@pytest.mark.skipif(not has_nvrtc, reason="NVRTC comes with cupy, which is not installed")
def test_what_does_not_compile_is_named_with_its_log(tmp_path):
    try:
        compiler = Compiler((9, 0), CubinCache(tmp_path / "cuda"))
    except BackendUnavailable as error:
        pytest.skip(str(error))
    with pytest.raises(BackendUnavailable, match=r"elementwise<nonsense> of elementwise.cu does not compile.*nonsense"):
        compiler.compile(kernel_name("elementwise<nonsense>"))
