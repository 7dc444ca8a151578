"""Malformed APR files, one for each rule, and odd ones that must open. `python make_hostile.py DIRECTORY` writes them.

Built by hand from the description of the format, not by the plugin's writer.
"""

import json
import struct
import sys
import zlib
from pathlib import Path

import lz4.block
import zstandard

CONFIG = {
    "model_type": "llama", "architecture": "llama", "hidden_size": 8, "num_layers": 1, "num_heads": 2,
    "num_kv_heads": 1, "vocab_size": 3, "intermediate_size": 16, "max_position_embeddings": 64, "rope_theta": 10000.0,
    "rms_norm_eps": 1e-6, "rope_type": 2,
}  # fmt: skip
WORDS = {"tokenizer.vocabulary": ["a", "b", "<|x|>"], "tokenizer.merges": [], "tokenizer.model": "gpt2"}


def pad(part):
    """To a multiple of 64 bytes."""
    return part + bytes(-len(part) % 64)


def record(name, code=0, shape=(4,), offset=0, nbytes=16):
    """One entry of the index."""
    raw = name if isinstance(name, bytes) else name.encode()
    head = struct.pack("<H", len(raw)) + raw + bytes([code, len(shape)])
    return head + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<QQ", offset, nbytes)


def header(count, metadata_nbytes, index_offset, data_offset, **change):
    """The 64 bytes with their checksum; change: other values of fields, `crc` among them."""
    fields = {"magic": b"APR\0", "major": 2, "minor": 0, "flags": 0x400, "count": count, "metadata_offset": 64,
              "metadata_nbytes": metadata_nbytes, "index_offset": index_offset, "data_offset": data_offset}  # fmt: skip
    crc = change.pop("crc", None)
    fields |= change
    front = struct.pack("<4sBBHIQIQQ", *fields.values())
    crc = zlib.crc32(front + bytes(20)) if crc is None else crc
    return front + struct.pack("<I", crc) + bytes(20)


def file(metadata=None, records=(), data=b"", *, trailer=True, count=None, **change):
    """A whole file; metadata: an object, or bytes as they are."""
    metadata = {"model_type": "test"} if metadata is None else metadata
    text = metadata if isinstance(metadata, bytes) else json.dumps(metadata, separators=(",", ":")).encode()
    index = b"".join(records)
    index_offset = 64 + len(pad(text))
    data_offset = index_offset + len(pad(index))
    count = len(records) if count is None else count
    head = header(count, len(text), index_offset, data_offset, **change)
    body = head + pad(text) + pad(index) + pad(data)
    return body + (struct.pack("<I", zlib.crc32(body)) if trailer else b"")


def one(name="t", code=0, shape=(4,), offset=0, nbytes=16, data=None, **change):
    """A file of one tensor."""
    return file(None, [record(name, code, shape, offset, nbytes)], bytes(nbytes) if data is None else data, **change)


def packed(whole, how):
    """The same file, compressed."""
    flag = {"lz4": 1, "zstd": 2}[how]
    front = bytearray(whole[:64])
    front[6] |= flag
    front[40:44] = struct.pack("<I", zlib.crc32(front[44:64], zlib.crc32(front[:40])))
    if how == "lz4":
        return bytes(front) + struct.pack("<I", len(whole) - 64) + lz4.block.compress(whole[64:], store_size=False)
    return bytes(front) + zstandard.compress(whole[64:])


def with_front(whole, at, raw):
    """The file with other bytes in its header, and the checksum that fits them."""
    front = bytearray(whole[:64])
    front[at : at + len(raw)] = raw
    front[40:44] = struct.pack("<I", zlib.crc32(front[44:64], zlib.crc32(front[:40])))
    return bytes(front) + whole[64:]


GOOD = one(data=struct.pack("<4f", 1, 2, 3, 4))
PLAIN = one(data=struct.pack("<4f", 1, 2, 3, 4), trailer=False)
BOMB = bytes(1 << 23)

VARIANTS = {
    "another_magic": (b"GGUF" + GOOD[4:], "b'GGUF'"),
    "APRN_of_aprender": (b"APRN\1\0\1\0" + bytes(24) + b"\x84" + bytes(64), "version 1 of a classical model"),
    "APRN_of_realizar": (b"APRN\1\0" + bytes(26) + b"{" + bytes(64), "realizar 0.3's model in JSON"),
    "APRT": (b"APRT\1\0\0\0" + bytes(100), "dump of a quantized transformer"),
    "APR1_json": (b"APR1\2\0\0\0{}" + bytes(64), "JSON index"),
    "APR1_whisper": (b"APR1\1\0\0\0\0" + bytes(120), "whisper.apr"),
    "APR1_in_lz4": (b"APR\0\1" + bytes(100), "compressed by LZ4"),
    "APR1_in_zstd": (b"APR\0\2" + struct.pack("<I", 99) + zstandard.compress(bytes(500)) + bytes(64), "by zstd"),
    "APR1_stored": (b"APR2\0" + struct.pack("<I", 99) + b"APR1" + bytes(99), "compressed not at all"),
    "index_in_json": (file(None, [b'[{"name":"weights","dtype":"json"}]'], b"{}", count=1), "an index in JSON"),
    "version_3": (with_front(GOOD, 4, b"\3"), "version 3"),
    "version_0": (with_front(GOOD, 4, b"\0"), "version 0"),
    "magic_only": (b"APR\0", "end of the file"),
    "half_a_header": (GOOD[:63], "64 bytes"),
}  # fmt: skip

HEADER = {
    "checksum": (GOOD[:40] + b"\1\2\3\4" + GOOD[44:], "checksum 04030201"),
    "encrypted": (with_front(GOOD, 6, b"\4\4"), "encrypted"),
    "sharded": (with_front(GOOD, 6, b"\x10\4"), "one shard"),
    "column_major": (with_front(GOOD, 6, b"\0\x08"), "column-major"),
    "metadata_in_the_header": (with_front(GOOD, 12, struct.pack("<Q", 63)), "metadata in bytes 63"),
    "metadata_behind_the_end": (with_front(GOOD, 12, struct.pack("<Q", 1 << 63)), "metadata in bytes"),
    "metadata_wraps": (with_front(GOOD, 12, struct.pack("<QI", (1 << 64) - 16, 80)), "metadata in bytes"),
    "metadata_too_long": (with_front(GOOD, 20, struct.pack("<I", 1 << 30)), "download complete"),
    "index_in_the_metadata": (with_front(GOOD, 24, struct.pack("<Q", 65)), "the tensor index"),
    "index_behind_the_end": (with_front(GOOD, 24, struct.pack("<Q", 1 << 62)), "the tensor index"),
    "data_in_the_metadata": (with_front(GOOD, 32, struct.pack("<Q", 64)), "tensor data at byte 64"),
    "data_behind_the_end": (with_front(GOOD, 32, struct.pack("<Q", (1 << 64) - 1)), "tensor data at byte"),
    "too_many_tensors": (with_front(GOOD, 8, struct.pack("<I", 65537)), "at most 65536"),
    "more_tensors_than_bytes": (with_front(GOOD, 8, struct.pack("<I", 65536)), "65536 tensors in an index"),
    "one_tensor_more": (with_front(GOOD, 8, struct.pack("<I", 2)), "1 to 256"),
    "trailer_cut": (GOOD[:-2], "2 bytes behind the last tensor"),
}

METADATA = {
    "not_json": (file(b"{"), "no valid JSON"),
    "list": (file(b"[]"), "expected an object"),
    "empty": (file(b""), "no valid JSON"),
    "not_utf8": (file(b'{"a":"\xff"}'), "UTF-8"),
    "deep": (file(b'{"a":' + b"[" * 100_000), "nested too deeply"),
    "many_lists": (file(b'{"a":[' + b"[]," * 270_000 + b"[]]}"), "expected at most"),
    "many_objects": (file(b'{"a":[' + b'{"a":1},' * 270_000 + b"1]}"), "brackets in the metadata"),
    "many_values": (file(b'{"a":[' + b"0," * 4_200_000 + b"0]}"), "expected at most"),
    "key_twice": (file(b'{"model_type":"a","model_type":"b"}'), "'model_type' twice"),
    "surrogate": (file(b'{"a":["\\ud800"]}'), "half a surrogate pair"),
    "surrogate_key": (file(b'{"a":{"\\uDFFF":1}}'), "half a surrogate pair"),
    "long_number": (file(b'{"a":' + b"9" * 5000 + b"}"), "no valid JSON"),
    "newer_layout": (file({**CONFIG, "realizar.layout": 2}), "realizar.layout 2"),
    "layout_is_text": (file({**CONFIG, "realizar.layout": "1"}), "an integer"),
    "two_spellings": (file({**CONFIG, "hidden_dim": 9}), "spellings of hidden_size"),
    "vocabulary_is_text": (file({**WORDS, "tokenizer.vocabulary": "abc"}), "an array"),
    "vocabulary_of_numbers": (file({**WORDS, "tokenizer.vocabulary": ["a", 1]}), "expected strings"),
    "merges_of_pairs": (file({**WORDS, "tokenizer.merges": [["a", "b"]]}), "expected strings"),
    "bos_outside": (file({**WORDS, "tokenizer.bos_token_id": 3}), "expected an id of 3 tokens"),
    "eos_negative": (file({**WORDS, "tokenizer.eos_token_id": -1}), "expected an id of 3 tokens"),
    "eos_is_true": (file({**WORDS, "tokenizer.eos_token_id": True}), "an integer"),
    "scores_too_few": (file({**WORDS, "tokenizer.scores": [1.0]}), "expected 3, one for each token"),
    "scores_nan": (file(json.dumps({**WORDS, "tokenizer.scores": [0, float("nan"), 0]}).encode()), "expected floats"),
    "scores_infinite": (file(b'{"tokenizer.vocabulary":["a"],"tokenizer.scores":[1e999]}'), "expected floats"),
    "scores_huge": (
        file(b'{"tokenizer.vocabulary":["a"],"tokenizer.scores":[' + b"9" * 400 + b"]}"),
        "expected floats",
    ),
    "types_not_integers": (file({**WORDS, "tokenizer.token_type": [1, 1.5, 1]}), "expected ints"),
    "template_is_list": (file({**WORDS, "chat_template": ["x"]}), "a string"),
    "two_templates": (file({**WORDS, "chat_template": "x", "tokenizer.chat_template": "y"}), "spellings of"),
    "rope_type_1": (file({**CONFIG, "rope_type": 1}), "rope_type 1"),
    "charsmap": (
        file({**WORDS, "realizar.layout": 1, "realizar.tokenizer": {"model": "spm", "precompiled_charsmap": "!"}}),
        "base64",
    ),
    "our_tokenizer_without_model": (file({**WORDS, "realizar.layout": 1, "realizar.tokenizer": {}}), "no model"),
    "our_tokenizer_of_another_scheme": (
        file({**WORDS, "realizar.layout": 1, "realizar.tokenizer": {"model": "spm", "prepend_scheme": "no"}}),
        "prepend_scheme",
    ),
    "our_eos_outside": (
        file({**WORDS, "realizar.layout": 1, "realizar.tokenizer": {"model": "spm", "eos_token_ids": [0, 3]}}),
        "expected an id of 3 tokens",
    ),
    "checkpoint_without_config": (file({"format": "entrenar-checkpoint"}), "no model_config"),
    "checkpoint_of_no_json": (file({"format": "entrenar-checkpoint", "model_config": "{"}), "no valid JSON"),
}

INDEX = {
    "empty_name": (one(""), "a name of 0 bytes"),
    "long_name": (one("n" * 257), "a name of 257 bytes"),
    "name_over_the_end": (file(None, [struct.pack("<H", 200) + b"t" * 30], count=1), "200 bytes of the name"),
    "name_not_utf8": (one(b"t\xff"), "byte 0xff in the name"),
    "name_twice": (file(None, [record("t"), record("t", offset=64)], bytes(128)), "a second time"),
    "nine_dimensions": (one(shape=(1,) * 9, nbytes=4), "9 dimensions"),
    "dimensions_over_the_end": (
        file(None, [struct.pack("<H", 1) + b"t\0\x08" + bytes(18)], count=1), "of the shape of tensor 't'"),
    "no_size": (file(None, [record("t" * 50, shape=())[:-16]], count=1), "the offset and size"),
    "code_31": (one(code=31), "type code 31"),
    "code_255": (one(code=255), "type code 255"),
    "too_small": (one(nbytes=12), "12 bytes for tensor 't', 4 of type code 0"),
    "too_large": (one(nbytes=20), "20 bytes for tensor 't'"),
    "code_2_of_no_size": (one(code=2, shape=(64,), nbytes=64), "128 (BF16) or 36 (Q4_0)"),
    "code_8_of_no_size": (one(code=8, shape=(64,), nbytes=64), "36 (Q4_0) or 68 (Q8_0)"),
    "shape_wraps_to_4": (one(shape=(1 << 32, (1 << 32) + 1), nbytes=16), "elements"),
    "shape_of_zero_and_huge": (one(shape=(0, 1 << 63), nbytes=0), "elements"),
    "data_cut_off": (one(nbytes=16, data=b"", trailer=False), "inside the file"),
    "offset_far": (one(offset=1 << 40), "inside the file"),
    "offset_wraps": (one(offset=(1 << 64) - 16), "inside the file"),
    "overlap": (file(None, [record("t"), record("u", offset=8)], bytes(64)), "tensor 'u' at byte"),
    "same_bytes_of_other_shape": (file(None, [record("t"), record("u", shape=(2, 2))], bytes(64)), "at byte"),
    "contained": (file(None, [record("t"), record("u", shape=(1,), offset=4, nbytes=4)], bytes(64)), "at byte"),
    "three_of_the_same": (file(None, [record("t"), record("u"), record("v")], bytes(64)), "at byte"),
}  # fmt: skip

COMPRESSED = {
    "lz4_bomb": (packed(GOOD[:64] + BOMB, "lz4"), "that expand to"),
    "zstd_bomb": (packed(GOOD[:64] + BOMB, "zstd"), "that expand to over"),
    "lz4_says_4_GB": (packed(GOOD, "lz4")[:64] + b"\xff" * 4 + packed(GOOD, "lz4")[68:], "expand to 4294967295"),
    "lz4_cut": (packed(GOOD, "lz4")[:-3], "damaged block"),
    "lz4_shorter_than_it_says": (packed(GOOD, "lz4")[:64] + b"\0\2" + packed(GOOD, "lz4")[66:], "a block of"),
    "lz4_empty": (packed(GOOD, "lz4")[:66], "2 bytes"),
    "zstd_damaged": (packed(GOOD, "zstd")[:70] + b"\xff" * 9, "damaged frame"),
    "zstd_no_frame": (packed(GOOD, "zstd")[:64] + b"nothing", "damaged frame"),
    "zstd_cut": (packed(GOOD, "zstd")[:-9], "download complete"),
    "plain_data_under_the_flag": (with_front(GOOD, 6, b"\2\4"), "damaged frame"),
}

CASES = {**VARIANTS, **HEADER, **METADATA, **INDEX, **COMPRESSED}
"""Name -> (bytes, words that the error must contain)."""

REFERENCE = bytes.fromhex(
    "41505200 0200 0004 02000000 4000000000000000 15000000 8000000000000000 0001000000000000 18985fcb" + "00" * 20
    + b'{"model_type":"test"}'.hex() + "00" * 43
    + "0400" + b"bias".hex() + "00 01 0300000000000000 0000000000000000 0c00000000000000"
    + "0600" + b"weight".hex() + "00 02 0200000000000000 0300000000000000 4000000000000000 1800000000000000"
    + "00" * (128 - 32 - 42)
    + "0000003f 000080bf 00000040" + "00" * 52
    + "0000803f 00000040 00004040 00008040 0000a040 0000c040" + "00" * 40 + "a9a4e289"
)  # fmt: skip
"""A file worked out from aprender's description by hand: bias [3] and weight [2, 3]."""

DAMAGED = {
    "trailer": GOOD[:-1] + bytes([GOOD[-1] ^ 1]),
    "trailer_of_other_bytes": GOOD[:-40] + b"\1" + GOOD[-39:],
}
"""Variants that open, and whose checksum does not fit."""

VALID = {
    "reference": REFERENCE,
    "good": GOOD,
    "no_trailer": PLAIN,
    "no_padding": PLAIN[:-48],
    "no_checksum": GOOD[:40] + bytes(4) + PLAIN[44:],
    "APR2": with_front(PLAIN, 0, b"APR2"),
    "minor_version": with_front(PLAIN, 5, b"\7"),
    "no_tensors": file(),
    "unsorted": file(None, [record("u", offset=64), record("t")], bytes(128)),
    "signed": with_front(PLAIN, 6, b"\x08\4"),
    "more_behind": PLAIN + bytes(100),
    "tied": file(None, [record("lm_head.weight"), record("model.embed_tokens.weight")], bytes(64)),
    "copy_of_nothing": one("realizar.prepacked.numba-1.t", 7, (64,), 0, 64),
    "copy_without_a_name": one("realizar.prepacked.", 7, (64,), 0, 64),
    "empty_tensor": one(shape=(0, 5), nbytes=0),
    "scalar": one(shape=(), nbytes=4),
    "config": file({**CONFIG, **WORDS}, [record("model.embed_tokens.weight", 0, (3, 8), 0, 96)], bytes(96)),
    "lz4": packed(GOOD, "lz4"),
    "zstd": packed(GOOD, "zstd"),
    "zstd_APR2": packed(with_front(PLAIN, 0, b"APR2"), "zstd"),
}
"""Variants that must open."""


def main(directory):
    """Write every case as DIRECTORY/NAME.apr."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in {**{name: case[0] for name, case in CASES.items()}, **DAMAGED, **VALID}.items():
        (directory / f"{name}.apr").write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
