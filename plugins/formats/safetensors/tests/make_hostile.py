"""Makes one small Safetensors file for every class of malformed input, and one directory for every bad index.

`python make_hostile.py DIRECTORY` writes them all; the tests load this file and use `CASES`, `INDEXES` and `VALID`.
The bytes are put together here by hand, not by the writer, which refuses to write most of them.
Names in capitals are the error variants of the safetensors crate that the case would meet there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

MAX_U64 = (1 << 64) - 1


def file(header, data=b"", *, size=None):
    """A file; the header is text, bytes or an object; `size` is what the file claims."""
    if isinstance(header, dict):
        header = json.dumps(header, separators=(",", ":"))
    raw = header.encode() if isinstance(header, str) else header
    return (len(raw) if size is None else size).to_bytes(8, "little") + raw + data


def entry(shape, begin, end, dtype="F32", **more):
    """A tensor's entry."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


def one(shape, begin, end, dtype="F32", data=bytes(16), **more):
    """A file of one tensor."""
    return file({"t": entry(shape, begin, end, dtype, **more)}, data)


def raw(fields, data=bytes(16)):
    """A file of one tensor whose entry is this text."""
    return file(f'{{"t":{{{fields}}}}}', data)


GOOD = '"dtype":"F32","shape":[4],"data_offsets":[0,16]'

SIZE = {
    "empty_file": (b"", "empty file"),
    "HEADER_TOO_SMALL": (b"\2\0\0", "after 3 bytes"),
    "size_only": (bytes([2, 0, 0, 0, 0, 0, 0, 0]), "the bytes left"),
    "size_0": (file(b""), "header size 0"),
    "size_1": (file(b"{", b"}"), "header size 1"),
    "HEADER_TOO_LARGE": (file(b"{}", size=100_000_001), "header size 100000001"),
    "INVALID_HEADER_LENGTH": (file(b"{}", size=3), "at most 2, the bytes left"),
    "size_2^31": (file(b"{}", size=1 << 31), "header size 2147483648"),
    "size_2^63": (file(b"{}", size=1 << 63), "header size"),
    "size_2^64-1": (file(b"{}", size=MAX_U64), "header size"),
    "size_2^64-8_wraps": (file(b"{}", size=MAX_U64 - 7), "header size"),
    "gguf_file": (b"GGUF\3\0\0\0" + bytes(24), "header size"),
    "pickle_file": (b"PK\3\4" + bytes(28), "header size"),
}

JSON = {
    "INVALID_HEADER_START": (file(b' {"a":1}'), "the first byte of the header"),
    "array": (file(b"[]"), "the first byte"),
    "byte_order_mark": (file(b"\xef\xbb\xbf{}"), "the first byte"),
    "no_end": (file(b'{"a"'), "':'"),
    "no_colon": (file(b'{"a" 1}'), "':'"),
    "no_comma": (file('{"a":{' + GOOD + '} "b":{' + GOOD + "}}"), "','"),
    "trailing_comma": (file('{"t":{' + GOOD + "},}", bytes(16)), "a key of the header"),
    "number_for_key": (file(b"{1:2}"), "a key of the header"),
    "single_quotes": (file(b"{'a':1}"), "a key of the header"),
    "nan": (file(b'{"a":NaN}'), "'{'"),
    "null_for_tensor": (file(b'{"a":null}'), "'{'"),
    "text_after_header": (file(b"{}x"), "nothing but spaces"),
    "second_object": (file(b"{}{}"), "nothing but spaces"),
    "zero_after_header": (file(b"{}\0\0\0"), "nothing but spaces"),
    "nested_100000_deep": (file(b'{"a":' + b"[" * 100_000), "'{'"),
    "nested_metadata_100000_deep": (file(b'{"__metadata__":{"a":' + b"[" * 100_000), "__metadata__"),
    "DUPLICATE_TENSOR": (file('{"t":{' + GOOD + '},"t":{' + GOOD + "}}", bytes(16)), "a second time"),
    "duplicate_by_escape": (file('{"t":{' + GOOD + '},"\\u0074":{' + GOOD + "}}", bytes(16)), "a second time"),
    "duplicate_metadata": (file('{"__metadata__":{},"__metadata__":{}}'), "a second time"),
    "INVALID_HEADER_UTF8": (file(b'{"\xff":1}'), "UTF-8"),
    "overlong_utf8": (file(b'{"\xc0\xaf":1}'), "UTF-8"),
    "utf8_surrogate": (file(b'{"\xed\xa0\x80":1}'), "UTF-8"),
    "cut_utf8_in_metadata": (file(b'{"__metadata__":{"a":"\xe2\x82"}}'), "UTF-8"),
    "lone_surrogate": (file(b'{"\\ud800":1}'), "lone surrogate"),
    "bad_escape": (file(b'{"\\x41":1}'), "escape"),
    "newline_in_string": (file(b'{"a\nb":1}'), "a JSON string"),
    "nul_in_string": (file(b'{"a\0b":1}'), "a JSON string"),
    "name_too_long": (file({"n" * 1025: entry([4], 0, 16)}, bytes(16)), "at most 1024 bytes"),
}  # fmt: skip

METADATA = {
    "metadata_number": (file({"__metadata__": {"a": 1}}), "a JSON string"),
    "metadata_null": (file({"__metadata__": None}), "'{'"),
    "metadata_list": (file({"__metadata__": ["a"]}), "'{'"),
    "metadata_object_value": (file({"__metadata__": {"a": {"b": "c"}}}), "a JSON string"),
    "metadata_duplicate_key": (file('{"__metadata__":{"a":"1","a":"2"}}'), "a second time"),
    "metadata_is_a_tensor": (file({"__metadata__": entry([4], 0, 16)}, bytes(16)), "a JSON string"),
}

ENTRIES = {
    "no_dtype": (raw('"shape":[4],"data_offsets":[0,16]'), "an incomplete tensor 't'"),
    "no_shape": (raw('"dtype":"F32","data_offsets":[0,16]'), "an incomplete tensor"),
    "no_offsets": (raw('"dtype":"F32","shape":[4]'), "an incomplete tensor"),
    "empty_entry": (raw(""), "an incomplete tensor"),
    "dtype_twice": (raw(GOOD + ',"dtype":"F32"'), "a second time"),
    "offsets_twice": (raw(GOOD + ',"data_offsets":[0,16]'), "a second time"),
    "unknown_key": (one([4], 0, 16, strides=[1]), "'strides'"),
    "dtype_unknown": (one([4], 0, 16, "F31"), "'F31'"),
    "dtype_lower_case": (one([4], 0, 16, "f32"), "'f32'"),
    "dtype_number": (one([4], 0, 16, 0), "a JSON string"),
    "dtype_of_ggml": (one([32], 0, 18, "Q4_0", bytes(18)), "'Q4_0'"),
    **{f"dtype_{name}": (one([4], 0, 16, name), f"dtype {name} (") for name in ("F4", "F6_E2M3", "F6_E3M2", "C64")},
    "one_offset": (raw('"dtype":"F32","shape":[4],"data_offsets":[0]'), "an incomplete tensor"),
    "three_offsets": (raw('"dtype":"F32","shape":[4],"data_offsets":[0,8,16]'), "at most 2 unsigned integers"),
    "offsets_swapped": (one([4], 16, 0), "16 bytes for 4 F32"),
    "offset_negative": (one([4], -16, 0), "unsigned integers"),
    "offset_float": (raw('"dtype":"F32","shape":[4],"data_offsets":[0,16.0]'), "unsigned integers"),
    "offset_exponent": (raw('"dtype":"F32","shape":[4],"data_offsets":[0,16e0]'), "unsigned integers"),
    "offset_leading_zero": (raw('"dtype":"F32","shape":[4],"data_offsets":[00,16]'), "unsigned integers"),
    "offset_string": (raw('"dtype":"F32","shape":[4],"data_offsets":["0","16"]'), "unsigned integers"),
    "offset_5000_digits": (raw('"dtype":"F32","shape":[4],"data_offsets":[0,' + "9" * 5000 + "]"), "below 10^20"),
    "offset_true": (raw('"dtype":"F32","shape":[4],"data_offsets":[false,true]'), "unsigned integers"),
    "shape_negative": (one([-4], 0, 16), "unsigned integers"),
    "shape_two_negatives": (one([-2, -2], 0, 16), "unsigned integers"),
    "shape_number": (raw('"dtype":"F32","shape":4,"data_offsets":[0,16]'), "an array of"),
    "shape_nested": (raw('"dtype":"F32","shape":[[4]],"data_offsets":[0,16]'), "unsigned integers"),
    "shape_trailing_comma": (raw('"dtype":"F32","shape":[4,],"data_offsets":[0,16]'), "unsigned integers"),
    "shape_9_dimensions": (one([4] + [1] * 8, 0, 16), "at most 8 unsigned integers"),
    "shape_1000000_dimensions": (raw('"dtype":"F32","shape":[' + "1," * 1_000_000), "at most 8 unsigned integers"),
}

RANGES = {
    "TENSOR_INVALID_INFO": (one([5], 0, 16), "20 bytes for 5 F32"),
    "shape_too_small_for_offsets": (one([3], 0, 16), "12 bytes for 3 F32"),
    "VALIDATION_OVERFLOW": (one([1 << 63, 4], 0, 16), "bytes for"),
    "product_wraps_to_16": (one([1 << 32, (1 << 30) + 1, 4], 0, 16), "bytes for"),
    "product_wraps_to_0": (one([1 << 32, 1 << 32], 0, 0, data=b""), "bytes for"),
    "huge_but_consistent": (one([1 << 62], 0, 1 << 64), "inside the file"),
    "offset_2^64-16": (one([4], (1 << 64) - 16, 1 << 64), "between the header and tensor"),
    "zero_size_far_away": (one([0], 1 << 40, 1 << 40, data=b""), "between the header and tensor"),
    "INVALID_OFFSET_overlap": (
        file({"t": entry([4], 0, 16), "u": entry([4], 8, 24)}, bytes(24)), "an overlap: tensor 'u'"),
    "two_names_for_the_same_bytes": (
        file({"t": entry([4], 0, 16), "u": entry([4], 0, 16)}, bytes(16)), "an overlap"),
    "contained": (file({"t": entry([4], 0, 16), "u": entry([1], 4, 8)}, bytes(16)), "an overlap"),
    "INVALID_OFFSET_gap": (file({"t": entry([4], 0, 16), "u": entry([4], 20, 36)}, bytes(36)), "a gap"),
    "gap_at_the_start": (one([4], 4, 20, data=bytes(20)), "4 bytes between the header"),
    "METADATA_INCOMPLETE_BUFFER": (one([4], 0, 16, data=bytes(17)), "1 bytes behind tensor 't'"),
    "data_cut_off": (one([4], 0, 16, data=bytes(15)), "inside the file"),
    "no_data_at_all": (one([4], 0, 16, data=b""), "inside the file"),
    "data_without_tensors": (file({}, bytes(3)), "3 bytes behind the header"),
    "scalar_of_0_bytes": (one([], 0, 0, data=b""), "4 bytes for a scalar"),
}  # fmt: skip

CASES = {**SIZE, **JSON, **METADATA, **ENTRIES, **RANGES}
"""Name -> (bytes, words that the error must contain)."""

ALL = (
    "BOOL U8 I8 U16 I16 U32 I32 U64 I64 F8_E4M3 F8_E5M2 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ F16 BF16 F32 F64".split()
)  # fmt: skip
WIDTHS = {"BOOL": 1, "BF16": 2, **{name: 1 for name in ALL if name.startswith("F8")}}


def _every_type():
    header, end = {}, 0
    for name in ALL:
        nbytes = 3 * (WIDTHS.get(name) or int(name[1:]) // 8)
        header[name] = entry([3, 1], end, end + nbytes, name)
        end += nbytes
    return file(header, bytes(i % 2 for i in range(end)))


VALID = {
    "no_tensors": file({}),
    "metadata_only": file({"__metadata__": {"format": "pt", "note": 'grün "x" \\ \n'}}),
    "every_type": _every_type(),
    "spaces": file('{ "t" :\t{"dtype" : "F32", "shape":[ 2 , 2 ] ,\n"data_offsets":[0, 16 ]} }    ', bytes(range(16))),
    "fields_in_any_order": file('{"t":{"data_offsets":[0,16],"shape":[4],"dtype":"F32"}}', bytes(16)),
    "bytes_in_another_order": file({"b": entry([1], 4, 8), "a": entry([1], 0, 4)}, b"\1\2\3\4\5\6\7\x08"),
    "empty_tensors": file({"a": entry([0, 5], 0, 0), "b": entry([2], 0, 8), "c": entry([3, 0], 8, 8)}, bytes(8)),
    "scalar": file({"a": entry([], 0, 4)}, bytes(4)),
    "escaped_name": file('{"\\u0074\\ud83d\\ude00\\n":{' + GOOD + "}}", bytes(16)),
    "unaligned": file(f'{{"t":{{{GOOD}}}}}' + " " * (1 + -len(GOOD) % 4), bytes(range(16))),
}
"""Variants that must open."""

SHARD = one([4], 0, 16)


def index(weight_map, **more):
    """Files of a sharded model by their names."""
    return {"model.safetensors.index.json": json.dumps({"weight_map": weight_map, **more}).encode()}


A, B = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"

INDEXES = {
    "not_json": ({"model.safetensors.index.json": b"{"}, "no valid JSON"),
    "list": ({"model.safetensors.index.json": b"[]"}, "expected an object"),
    "not_utf8": ({"model.safetensors.index.json": b'{"\xff":1}'}, "UTF-8"),
    "deep": ({"model.safetensors.index.json": b'{"a":' + b"[" * 100_000}, "nested too deeply"),
    "many_lists": ({"model.safetensors.index.json": b'{"a":[' + b"[]," * 3_000_000 + b"[]]}"}, "expected at most"),
    "duplicate_tensor": (
        {"model.safetensors.index.json": f'{{"weight_map":{{"t":"{A}","t":"{B}"}}}}'.encode()}, "'t' twice"),
    "no_weight_map": ({"model.safetensors.index.json": b"{}"}, "no weight_map"),
    "empty_weight_map": (index({}), "no weight_map"),
    "weight_map_list": (index([]), "no weight_map"),
    "file_number": (index({"t": 1}), "no weight_map"),
    "missing_shard": (index({"t": A}), "found no file"),
    "shard_is_the_index": (index({"t": "model.safetensors.index.json"}), "shard name"),
    "shard_lacks_a_tensor": ({**index({"t": A, "u": A}), A: SHARD}, "lacks u"),
    "shard_has_another_tensor": ({**index({"u": A}), A: SHARD}, "lacks u"),
    "shard_has_one_more": (
        {**index({"t": A, "u": B}), A: SHARD, B: file({"u": entry([1], 0, 4), "t": entry([1], 4, 8)}, bytes(8))},
        "also holds t"),
    "malformed_shard": ({**index({"t": A}), A: SHARD[:-1]}, "inside the file"),
    "too_many_shards": (index({f"t{i}": f"{i}.safetensors" for i in range(1025)}), "1025 files"),
    **{f"shard_name_{i}": (index({"t": name}), "shard name") for i, name in enumerate((
        "../model.safetensors", "/etc/model.safetensors", "a/b.safetensors", "..\\x.safetensors", "C:x.safetensors",
        "..", ".", "", "x\0.safetensors", "/dev/stdin", "model.bin"))},
}  # fmt: skip
"""Name -> ({file name: bytes}, words that the error must contain); the index is to be opened."""


def main(directory):
    """Write every case as DIRECTORY/NAME.safetensors, every index into a directory DIRECTORY/index_NAME."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in {**{name: case[0] for name, case in CASES.items()}, **VALID}.items():
        (directory / f"{name}.safetensors").write_bytes(content)
    for name, (files, _) in INDEXES.items():
        write_directory(directory / f"index_{name}", files)


def write_directory(directory, files):
    """Write these files."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
