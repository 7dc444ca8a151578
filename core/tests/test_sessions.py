"""What was computed once is found again in another process, to the bit, or refused."""

from __future__ import annotations

import os
import struct

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realizar.engine.session_file import HEADER, SessionKind, model_identity, read_session, write_session
from realizar.errors import FormatError, RealizarError, RequestError, UnsupportedOp
from realizar.reference import NumpyBackend
from realizar.sampling import SamplingParams

KIND = SessionKind(bytes(range(32)), "numpy", "F32", 4, 24)
IDS = list(range(100, 112))
BLOCKS = np.random.default_rng(0).integers(0, 256, (3, 24)).astype(np.uint8)
PROMPT = "You are a helpful assistant. Be brief, be kind. What is the sky?"
PARAMS = SamplingParams(seed=5, max_tokens=9, ignore_eos=True, logprobs=2)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.session"


def bits(completion):
    return completion.token_ids, completion.logprobs


class TestFile:
    """The format."""

    def test_what_was_written_is_read(self, path):
        write_session(path, KIND, IDS, BLOCKS)
        ids, blocks = read_session(path, KIND)
        assert ids == IDS
        assert np.array_equal(blocks, BLOCKS)
        assert path.stat().st_size == HEADER.size + 12 * 4 + 72 + 32
        assert os.listdir(path.parent) == ["a.session"]

    def test_nothing_is_a_session_too(self, path):
        write_session(path, KIND, [], BLOCKS[:0])
        ids, blocks = read_session(path, KIND)
        assert (ids, blocks.shape) == ([], (0, 24))

    def test_bytes_are_where_the_docstring_says(self, path):
        write_session(path, KIND, IDS, BLOCKS)
        data = path.read_bytes()
        assert data[:8] == b"RZKVSESS"
        assert struct.unpack_from("<IIIQ", data, 8) == (1, 4, 3, 24)
        assert data[28:44] == b"F32".ljust(16, b"\0")
        assert data[44:76] == b"numpy".ljust(32, b"\0")
        assert data[76:108] == KIND.model
        assert struct.unpack_from("<12i", data, 108) == tuple(IDS)

    @pytest.mark.parametrize(
        ("change", "what"),
        [
            ({"model": bytes(32)}, "model: found 0001.*, expected 0000.*another model"),
            ({"backend": "numba"}, "backend: found numpy, expected numba"),
            ({"kv_type": "F16"}, "KV type: found F32, expected F16"),
            ({"block_size": 8}, "tokens of a block: found 4, expected 8"),
            ({"block_nbytes": 48}, "bytes of a block: found 24, expected 48"),
        ],
    )
    def test_another_kind(self, path, change, what):
        write_session(path, KIND, IDS, BLOCKS)
        fields = {name: getattr(KIND, name) for name in ("model", "backend", "kv_type", "block_size", "block_nbytes")}
        with pytest.raises(FormatError, match=what):
            read_session(path, SessionKind(**(fields | change)))

    def test_another_version(self, path):
        write_session(path, KIND, IDS, BLOCKS)
        data = bytearray(path.read_bytes())
        data[8] = 2
        path.write_bytes(data)
        with pytest.raises(FormatError, match="byte 8: version 2, this realizar reads 1"):
            read_session(path, KIND)

    @given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
    def test_a_changed_bit(self, tmp_path_factory, at, bit):
        path = tmp_path_factory.mktemp("changed") / "a.session"
        write_session(path, KIND, IDS, BLOCKS)
        data = bytearray(path.read_bytes())
        data[at % len(data)] ^= 1 << bit
        path.write_bytes(data)
        with pytest.raises(FormatError, match=r"a\.session"):
            read_session(path, KIND)

    @pytest.mark.parametrize("size", [0, 7, HEADER.size - 1, HEADER.size, 200, HEADER.size + 12 * 4 + 72 + 31])
    def test_cut_off(self, path, size):
        write_session(path, KIND, IDS, BLOCKS)
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(FormatError, match="not a saved session|3 blocks need 260 bytes, the file has"):
            read_session(path, KIND)

    def test_a_size_nobody_has(self, path):
        """Nothing is allocated for what the file cannot hold."""
        head = HEADER.pack(b"RZKVSESS", 1, 4, 2**32 - 1, 24, b"F32", b"numpy", KIND.model)
        path.write_bytes(head + bytes(100))
        with pytest.raises(FormatError, match="4294967295 blocks need"):
            read_session(path, KIND)

    def test_a_write_that_fails_leaves_what_was(self, path, monkeypatch):
        write_session(path, KIND, IDS, BLOCKS)

        def full(descriptor):
            raise OSError("no space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space"):
            write_session(path, KIND, IDS[:4], BLOCKS[:1])
        assert os.listdir(path.parent) == ["a.session"]
        assert read_session(path, KIND)[0] == IDS

    def test_identities_differ_with_every_part(self):
        assert len({model_identity(parts) for parts in ([], [b""], [b"ab"], [b"a", b"b"], [b"b", b"a"])}) == 5


class TestEngine:
    """Through an LLM."""

    @pytest.mark.parametrize("kv_type", ["F32", "F16"])
    def test_another_process_goes_on_to_the_bit(self, open_llm, path, kv_type):
        first = open_llm(backend="exact", kv_type=kv_type)
        done = first.generate(PROMPT, PARAMS)
        text = [*done.prompt_token_ids, *done.token_ids]
        assert first.save_session(path, text) == (len(text) - 1) // 16 * 16
        again = first.generate(text, PARAMS)
        second = open_llm(backend="exact", kv_type=kv_type)
        assert second.restore_session(path) == (len(text) - 1) // 16 * 16
        restored = second.generate(text, PARAMS)
        assert bits(restored) == bits(again)
        assert restored.cached_tokens == again.cached_tokens == (len(text) - 1) // 16 * 16

    def test_restoring_what_is_there_takes_nothing(self, open_llm, path):
        llm = open_llm()
        llm.generate(PROMPT, PARAMS)
        saved = llm.save_session(path, PROMPT)
        cached = llm.stats.blocks_cached
        assert llm.restore_session(path) == saved == 64
        assert llm.stats.blocks_cached == cached

    def test_as_much_as_there_is_room_for(self, open_llm, path, monkeypatch):
        llm = open_llm()
        llm.generate(PROMPT, PARAMS)
        llm.save_session(path, PROMPT)
        monkeypatch.setattr("realizar.engine.sizes.CACHE_NBYTES", 1)
        small = open_llm(max_model_len=40)
        assert small.stats.blocks_total == 3
        assert small.restore_session(path) == 48
        assert small.generate(small.tokenizer.encode(PROMPT)[:36], PARAMS).cached_tokens == 32

    def test_what_was_never_computed_cannot_be_saved(self, open_llm, path):
        with pytest.raises(RequestError, match="no full block of this text"):
            open_llm().save_session(path, PROMPT)
        assert not path.exists()

    def test_messages(self, open_llm, path):
        llm, messages = open_llm(), [{"role": "user", "content": PROMPT}]
        llm.chat(messages, PARAMS)
        assert llm.save_session(path, messages) >= 64

    @pytest.mark.parametrize(
        ("model", "options", "what"),
        [
            ({"seed": 1}, {}, "model: found"),
            ({"rope_theta": 7.0}, {}, "model: found"),
            ({}, {"backend": "numpy64"}, "bytes of a block|backend"),
            ({}, {"kv_type": "F16"}, "KV type: found F32, expected F16"),
        ],
    )
    def test_of_another_model(self, open_llm, path, model, options, what):
        llm = open_llm()
        llm.generate(PROMPT, PARAMS)
        llm.save_session(path, PROMPT)
        with pytest.raises(FormatError, match=what):
            open_llm(model, **options).restore_session(path)

    def test_of_a_context_with_another_rotation(self, open_llm, path, monkeypatch):
        """As longrope has: the file and its configuration are the same, the graph is not."""
        monkeypatch.setattr(
            "realizar.engine.loader.for_texts_of",
            lambda config, tensors, length: attrs.evolve(config, rope_theta=100.0 * length),
        )
        llm = open_llm(max_model_len=100)
        llm.generate(PROMPT, PARAMS)
        llm.save_session(path, PROMPT)
        assert open_llm(max_model_len=100).restore_session(path) == 64
        with pytest.raises(FormatError, match="model: found"):
            open_llm(max_model_len=200).restore_session(path)

    def test_without_a_prefix_cache(self, open_llm, path):
        llm = open_llm(prefix_cache=False)
        for move in (lambda: llm.save_session(path, PROMPT), lambda: llm.restore_session(path)):
            with pytest.raises(RequestError, match="the prefix cache, which is off"):
                move()

    def test_a_backend_that_cannot(self, open_llm, path, monkeypatch):
        monkeypatch.delattr(NumpyBackend, "read_blocks")
        llm = open_llm()
        llm.generate(PROMPT, PARAMS)
        with pytest.raises(UnsupportedOp, match="'numpy' cannot save its KV cache"):
            llm.save_session(path, PROMPT)

    def test_after_the_end(self, open_llm, path):
        llm = open_llm()
        llm.close()
        with pytest.raises(RealizarError, match="the engine is closed"):
            llm.save_session(path, PROMPT)
