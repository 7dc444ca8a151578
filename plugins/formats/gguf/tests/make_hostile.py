"""Makes one small GGUF file for every class of malformed input known to have broken a reader.

`python make_hostile.py DIRECTORY` writes them all; the tests load this file and use `CASES` and `VALID`.
The bytes are put together here by hand, not by the writer, which refuses to write most of them.
Names in capitals are those of llama.cpp's tests/test-gguf.cpp; CVE numbers name the published report.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
CODES = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}
MAX_U64 = (1 << 64) - 1


def u32(number):
    return struct.pack("<I", number)


def u64(number):
    return struct.pack("<Q", number)


def string(text):
    encoded = text if isinstance(text, bytes) else text.encode()
    return u64(len(encoded)) + encoded


def key(name, kind, value):
    """One key with a scalar value."""
    payload = string(value) if kind == STRING else struct.pack("<" + CODES[kind], value)
    return string(name) + u32(kind) + payload


def array(name, kind, values, count=None):
    """One key with an array; `count` is what the file claims."""
    payload = b"".join(string(v) if kind == STRING else struct.pack("<" + CODES[kind], v) for v in values)
    return string(name) + u32(ARRAY) + u32(kind) + u64(len(values) if count is None else count) + payload


def tensor(name, sizes, kind=0, offset=0, dimensions=None):
    """One tensor description; sizes innermost first, as in the file."""
    count = len(sizes) if dimensions is None else dimensions
    return string(name) + u32(count) + b"".join(map(u64, sizes)) + u32(kind) + u64(offset)


def gguf(keys=(), tensors=(), data=b"", *, magic=b"GGUF", version=3, num_tensors=None, num_keys=None, alignment=32):
    """A file; the counts can be made to lie."""
    head = magic + u32(version)
    head += u64(len(tensors) if num_tensors is None else num_tensors)
    head += u64(len(keys) if num_keys is None else num_keys)
    head += b"".join(keys) + b"".join(tensors)
    if tensors:
        head += bytes(-len(head) % alignment)
    return head + data


def model_keys(**changed):
    """Keys of a tiny llama, some replaced; None leaves one out."""
    plain = {
        "general.architecture": (STRING, "llama"),
        "llama.block_count": (U32, 1),
        "llama.context_length": (U32, 64),
        "llama.embedding_length": (U32, 8),
        "llama.feed_forward_length": (U32, 16),
        "llama.attention.head_count": (U32, 2),
        "llama.attention.layer_norm_rms_epsilon": (F32, 1e-5),
    }
    plain |= {name.replace("__", "."): value for name, value in changed.items()}
    return [key(name, *value) for name, value in plain.items() if value is not None]


def vocabulary_keys(*more, tokens=None):
    """A byte-level vocabulary of three tokens."""
    listed = array("tokenizer.ggml.tokens", STRING, ["a", "b", "c"]) if tokens is None else tokens
    return [key("tokenizer.ggml.model", STRING, "gpt2"), listed, *more]


EMBEDDING = tensor("token_embd.weight", [8, 3])
EMBEDDING_DATA = bytes(8 * 3 * 4)


def model(*more, tensors=(EMBEDDING,), data=EMBEDDING_DATA, **changed):
    """A tiny llama with one thing wrong."""
    return gguf([*model_keys(**changed), *vocabulary_keys(), *more], list(tensors), data)


def one_tensor(*args, data=b"", **kwargs):
    return gguf([], [tensor(*args, **kwargs)], data)


def two_tensors(first, second, data=bytes(128)):
    return gguf([], [first, second], data)


HEADER = {
    "empty_file": (b"", "empty file"),
    "three_bytes": (b"GGU", "magic number"),
    "HEADER_BAD_MAGIC": (gguf(magic=b"FUGG"), "b'FUGG'"),
    "magic_only": (b"GGUF", "version"),
    "HEADER_BAD_VERSION_0": (gguf(version=0), "version 0"),
    "HEADER_BAD_VERSION_1": (gguf(version=1), "version 1"),
    "HEADER_BAD_VERSION_FUTURE": (gguf(version=4), "version 4"),
    "HEADER_BAD_N_TENSORS": (gguf(num_tensors=MAX_U64), "tensor count 18446744073709551615"),
    "HEADER_BAD_N_KV": (gguf(num_keys=MAX_U64), "key count 18446744073709551615"),
    "CVE-2024-23605_n_kv_short_malloc": (gguf(num_keys=0x0555555555555556), "key count"),
    "CVE-2024-25664_n_kv_overflow": (gguf(num_keys=0x2AAAAAAAAAAAAAAB), "key count"),
    "CVE-2024-21836_n_tensors": (gguf(num_tensors=0x0100000000000001), "tensor count"),
    "n_tensors_within_cap_beyond_file": (gguf(num_tensors=65536), "bytes are left"),
    "n_kv_within_cap_beyond_file": (gguf(num_keys=65536), "bytes are left"),
}

LENGTHS = {"2^31": 1 << 31, "2^32": 1 << 32, "2^63": 1 << 63, "2^64-1": MAX_U64}

KEYS = {
    "KV_BAD_KEY_SIZE": (gguf([u64(MAX_U64) + b"my_key" + u32(U8) + b"\0"]), "key 0 length"),
    "KV_EMPTY_KEY": (gguf([key("", U8, 1)]), "empty name"),
    "KV_BAD_TYPE": (gguf([string("my_key") + u32(13) + bytes(8)]), "value type 13"),
    "KV_DUPLICATE_KEY": (gguf([key("my_key", U8, 1), key("my_key", U8, 2)]), "a second time"),
    "KV_BAD_ALIGN": (gguf([key("general.alignment", U32, 13)]), "power of two"),
    "KV_WRONG_TYPE_ALIGN": (gguf([key("general.alignment", I32, 32)]), "INT32 32"),
    "CVE-2025-0317_alignment_0": (gguf([key("general.alignment", U32, 0)]), "power of two"),
    "alignment_1": (gguf([key("general.alignment", U32, 1)]), "power of two"),
    "alignment_2^31": (gguf([key("general.alignment", U32, 1 << 31)]), "power of two"),
    "alignment_array": (gguf([array("general.alignment", U32, [32])]), "array of UINT32"),
    "key_not_utf8": (gguf([key(b"my\xff", U8, 1)]), "UTF-8"),
    "key_too_long": (gguf([key("k" * 65536, U8, 1)]), "at most 65535"),
    "value_not_utf8": (gguf([key("my_key", STRING, b"\xc3")]), "UTF-8"),
    "bool_2": (gguf([string("my_key") + u32(BOOL) + b"\2"]), "byte 2"),
    "bool_array_255": (gguf([array("my_key", BOOL, [], 2) + b"\1\xff"]), "byte 255"),
    "value_cut_off": (gguf([string("my_key") + u32(U64) + b"\0\0"]), "the end of the file"),
    "array_of_arrays": (
        gguf([string("a") + u32(ARRAY) + u32(ARRAY) + u64(1) + u32(ARRAY) + u64(1)]), "array of arrays"),
    "array_element_type_99": (gguf([array("my_key", 99, [], 1)]), "value type 99"),
    "token_not_utf8": (
        gguf(vocabulary_keys(tokens=array("tokenizer.ggml.tokens", STRING, ["a", b"\xe2\x82", "b"]))), "string 1"),
    "long_token_not_utf8": (
        gguf(vocabulary_keys(tokens=array("tokenizer.ggml.tokens", STRING, ["a", b"b" * 299 + b"\xff"]))), "string 1"),
    "last_string_cut_off": (gguf([array("my_key", STRING, ["a"], 2) + bytes(7)]), "string 1"),
    "string_array_beyond_file": (gguf([array("my_key", STRING, ["abc"], 3)]), "bytes are left"),
}  # fmt: skip
for label, length in LENGTHS.items():
    KEYS[f"CVE-2024-21802_CVE-2025-66960_string_length_{label}"] = (
        gguf([string("my_key") + u32(STRING) + u64(length) + b"text"]), f"length {length}")  # fmt: skip
    KEYS[f"CVE-2025-49847_token_length_{label}"] = (
        gguf([string("tokenizer.ggml.tokens") + u32(ARRAY) + u32(STRING) + u64(1) + u64(length) + b"text"]),
        f"length {length} of string 0")  # fmt: skip
    for kind, word in ((U8, "u8"), (STRING, "string"), (F64, "f64"), (BOOL, "bool")):
        KEYS[f"CVE-2024-21825_gguf-py-27188_array_of_{word}_{label}"] = (
            gguf([array("a", kind, [], length)]), f"array length of a {length}")  # fmt: skip

TENSORS = {
    "TENSORS_BAD_NAME_SIZE": (one_tensor("my_tensor" + "_long" * 12, [1], data=bytes(4)), "at most 64"),
    "tensor_name_empty": (one_tensor("", [1], data=bytes(4)), "empty name"),
    "tensor_name_not_utf8": (one_tensor(b"\x80", [1], data=bytes(4)), "UTF-8"),
    "TENSORS_BAD_N_DIMS": (one_tensor("t", [1] * 5, data=bytes(4)), "5 dimensions"),
    "n_dims_2^32-1": (one_tensor("t", [1], dimensions=(1 << 32) - 1), "4294967295 dimensions"),
    "TENSORS_BAD_SHAPE": (one_tensor("t", [MAX_U64, MAX_U64], data=bytes(64)), "inside the file"),
    "CVE-2025-0312_TENSORS_ZERO_DIM": (one_tensor("t", [32, 0], data=bytes(64)), "a dimension of 0"),
    "TENSORS_NE_TOO_BIG": (one_tensor("t", [4 * 0x7FFFFFFF] * 2, data=bytes(64)), "inside the file"),
    "TENSORS_NBYTES_TOO_BIG": (one_tensor("t", [1533916891] * 2, 27, data=bytes(64)), "inside the file"),
    "TENSORS_NBYTES_PAD_WRAP": (one_tensor("t", [4, (1 << 30) - 1, (1 << 30) + 1], data=bytes(64)), "inside the file"),
    "CVE-2026-33298_nbytes_wraps": (one_tensor("t", [1 << 32, 1 << 32, 4, 1 << 20], data=bytes(64)), "inside the file"),
    "PR-18674_ne1_2^42+1": (one_tensor("t", [1 << 20, (1 << 42) + 1], data=bytes(64)), "inside the file"),
    "CVE-2024-23496_ne_negative": (one_tensor("t", [1 << 63], data=bytes(64)), "inside the file"),
    "TENSORS_BAD_TYPE": (one_tensor("t", [32], 43, data=bytes(128)), "type 43"),
    "tensor_type_2^32-1": (one_tensor("t", [32], (1 << 32) - 1, data=bytes(128)), "type 4294967295"),
    "TENSORS_BAD_OFFSET": (one_tensor("t", [1], offset=MAX_U64, data=bytes(64)), "multiple of the alignment"),
    "offset_2^64-32": (one_tensor("t", [1], offset=(1 << 64) - 32, data=bytes(64)), "inside the file"),
    "TENSORS_DUPLICATE_NAME": (two_tensors(tensor("t", [1]), tensor("t", [1], offset=32)), "a second time"),
    "TENSORS_BAD_ALIGN": (gguf([key("general.alignment", U32, 13)], [tensor("t", [1])], bytes(64)), "power of two"),
    "TENSORS_INCONSISTENT_ALIGN": (two_tensors(tensor("t", [1]), tensor("u", [1], offset=4)), "alignment 32"),
    "row_not_whole_blocks": (one_tensor("t", [33], 8, data=bytes(128)), "multiple of 32"),
    "quantized_scalar": (one_tensor("t", [], 8, data=bytes(128)), "multiple of 32"),
    "tensors_overlap": (two_tensors(tensor("t", [16]), tensor("u", [8], offset=32)), "'t' ends"),
    "tensors_identical": (two_tensors(tensor("t", [8]), tensor("u", [8])), "ends"),
    "description_cut_off": (gguf([], [tensor("t", [1])[:-4]], num_tensors=1)[:-16], "the end of the file"),
    **{f"removed_type_{number}": (one_tensor("t", [32], number, data=bytes(128)), name) for number, name in (
        (4, "Q4_2"), (5, "Q4_3"), (31, "Q4_0_4_4"), (32, "Q4_0_4_8"), (33, "Q4_0_8_8"),
        (36, "IQ4_NL_4_4"), (37, "IQ4_NL_4_8"), (38, "IQ4_NL_8_8"))},
}  # fmt: skip

DATA = {
    "DATA_NOT_ENOUGH_DATA": (one_tensor("t", [16], data=bytes(63)), "inside the file"),
    "DATA_BAD_ALIGN": (gguf([key("general.alignment", U32, 24)], [tensor("t", [1])], bytes(64)), "power of two"),
    "DATA_INCONSISTENT_ALIGN": (two_tensors(tensor("t", [3]), tensor("u", [1], offset=12)), "alignment 32"),
    "DATA_MEM_SIZE_OVERFLOW": (
        two_tensors(tensor("t", [0x7FFFFFFFFFFFFFC0], 24), tensor("u", [0x7FFFFFFFFFFFFFC0], 24, 0x7FFFFFFFFFFFFFC0)),
        "inside the file"),
    "CVE-2025-53630_CVE-2026-27940_sum_wraps": (
        two_tensors(tensor("t", [1 << 63], 24), tensor("u", [(1 << 63) + 512], 24, 1 << 63)), "inside the file"),
    "CVE-2026-7482_offset_beyond_file": (one_tensor("t", [16], offset=1 << 20, data=bytes(64)), "inside the file"),
    "CVE-2026-7482_size_beyond_file": (one_tensor("t", [1 << 20], data=bytes(64)), "inside the file"),
    "CVE-2024-12055_huge_dimensions": (one_tensor("t", [1 << 16] * 4, data=bytes(64)), "inside the file"),
    "no_data_at_all": (one_tensor("t", [1]), "inside the file"),
}  # fmt: skip

Q_TENSOR = tensor("blk.0.attn_q.weight", [8, 6], offset=96)

CONFIG = {
    "CVE-2024-8063_block_count_0": (model(llama__block_count=(U32, 0)), "llama.block_count"),
    "CVE-2024-8063_block_count_string": (model(llama__block_count=(STRING, "1")), "STRING '1'"),
    "PR-25821_block_count_513": (model(llama__block_count=(U32, 513)), "the number of tensors"),
    "block_count_2^64-1": (model(llama__block_count=(U64, MAX_U64)), "an integer from 1"),
    "block_count_negative": (model(llama__block_count=(I32, -1)), "an integer from 1"),
    "block_count_array_of_strings": (
        model(array("llama.block_count", STRING, ["1"]), llama__block_count=None), "array of STRING"),
    "architecture_number": (model(general__architecture=(U32, 1)), "a STRING"),
    "head_count_0": (model(llama__attention__head_count=(U32, 0)), "head_count"),
    "head_count_divides_nothing": (model(llama__attention__head_count=(U32, 3)), "a divisor of 8"),
    "head_count_beyond_hidden": (model(llama__attention__head_count=(U32, 16)), "a divisor of 8"),
    "head_count_kv_divides_nothing": (
        model(key("llama.attention.head_count_kv", U32, 3), llama__attention__head_count=(U32, 4)), "a divisor of 4"),
    "head_count_kv_array_of_zeros": (model(array("llama.attention.head_count_kv", I32, [0, 0])), "head_count_kv"),
    "key_length_0": (model(key("llama.attention.key_length", U32, 0)), "key_length"),
    "rope_dimension_odd": (model(key("llama.rope.dimension_count", U32, 3)), "an even number"),
    "rope_dimension_beyond_head": (model(key("llama.rope.dimension_count", U32, 6)), "at most the head's 4"),
    "epsilon_nan": (model(llama__attention__layer_norm_rms_epsilon=(F32, float("nan"))), "finite"),
    "rope_base_infinite": (model(key("llama.rope.freq_base", F32, float("inf"))), "finite"),
    "rope_base_0": (model(key("llama.rope.freq_base", F32, 0.0)), "above 0"),
    "vocab_size_contradicts_tokens": (model(key("llama.vocab_size", U32, 4)), "one vocabulary size"),
    "embedding_contradicts_tokens": (
        model(tensors=[tensor("token_embd.weight", [8, 2])]), "2 in token_embd.weight"),
    "q_rows_do_not_split_into_heads": (
        model(tensors=[EMBEDDING, Q_TENSOR], data=bytes(96 + 192)), "6 rows of F32 for 2 heads"),
    "q_without_head_count": (
        model(tensors=[EMBEDDING, Q_TENSOR], data=bytes(96 + 192), llama__attention__head_count=None), "no key"),
    "same_canonical_name": (
        model(tensors=[EMBEDDING, tensor("model.embed_tokens.weight", [8, 3], offset=96)], data=bytes(192)),
        "each tensor once"),
}  # fmt: skip


def id_key(name, value):
    return key(f"tokenizer.ggml.{name}_token_id", U32, value)


VOCABULARY = {
    "PR-26690_scores_uint8": (
        gguf(vocabulary_keys(array("tokenizer.ggml.scores", U8, [0] * 3))), "an array of FLOAT32"),
    "PR-26690_token_type_uint8": (
        gguf(vocabulary_keys(array("tokenizer.ggml.token_type", U8, [1] * 3))), "an array of INT32"),
    "scores_too_short": (gguf(vocabulary_keys(array("tokenizer.ggml.scores", F32, [0.0]))), "3 elements"),
    "token_type_too_long": (gguf(vocabulary_keys(array("tokenizer.ggml.token_type", I32, [1] * 4))), "3 elements"),
    "scores_scalar": (gguf(vocabulary_keys(key("tokenizer.ggml.scores", F32, 0.0))), "an array of FLOAT32"),
    "merges_numbers": (gguf(vocabulary_keys(array("tokenizer.ggml.merges", U32, [1]))), "an array of STRING"),
    "tokens_numbers": (gguf(vocabulary_keys(tokens=array("tokenizer.ggml.tokens", U32, [1]))), "an array of STRING"),
    "tokens_scalar": (gguf(vocabulary_keys(tokens=key("tokenizer.ggml.tokens", STRING, "a"))), "an array of STRING"),
    "tokens_missing": (gguf([key("tokenizer.ggml.model", STRING, "gpt2")]), "tokenizer.ggml.tokens"),
    "tokens_empty_with_bos": (
        gguf(vocabulary_keys(id_key("bos", 0), tokens=array("tokenizer.ggml.tokens", STRING, []))), "bos_token_id"),
    **{f"{name}_outside_vocabulary": (gguf(vocabulary_keys(id_key(name, 3))), "an integer from 0 to 2")
       for name in ("bos", "eos", "eot", "eom", "unknown", "padding")},
    "bos_string": (gguf(vocabulary_keys(key("tokenizer.ggml.bos_token_id", STRING, "1"))), "an integer"),
    "add_bos_number": (gguf(vocabulary_keys(key("tokenizer.ggml.add_bos_token", U32, 1))), "a BOOL"),
    "model_number": (gguf([key("tokenizer.ggml.model", U32, 1)]), "a STRING"),
    "chat_template_array": (gguf(vocabulary_keys(array("tokenizer.chat_template", STRING, ["a"]))), "a STRING"),
    "named_template_number": (gguf(vocabulary_keys(key("tokenizer.chat_template.tool_use", U32, 1))), "a STRING"),
}  # fmt: skip

CASES = {**HEADER, **KEYS, **TENSORS, **DATA, **CONFIG, **VOCABULARY}
"""Name -> (bytes, words that the error must contain)."""


def _all_values():
    scalars = [key(f"scalar_{kind}", kind, 1) for kind in CODES]
    arrays = [array(f"array_{kind}", kind, [0, 1, 1]) for kind in CODES]
    return [*scalars, *arrays, key("text", STRING, "grün"), array("texts", STRING, ["", "x" * 300, "é"])]


_T = [tensor("t", [2, 3]), tensor("u", [32], 8, 32)]
_ALIGN_64 = [key("general.alignment", U32, 64)]
_ALIGN_8 = [key("general.alignment", U32, 8)]

VALID = {
    "HEADER_EMPTY": gguf(),
    "KV_SUCCESS": gguf(_all_values()),
    "TENSORS_SUCCESS": gguf([], _T, bytes(32 + 34)),
    "TENSORS_CUSTOM_ALIGN": gguf(_ALIGN_64, [tensor("t", [2, 3]), tensor("u", [32], 8, 64)], bytes(98), alignment=64),
    "DATA_SUCCESS": gguf(_all_values(), _T, bytes(range(66))),
    "DATA_CUSTOM_ALIGN": gguf(_ALIGN_8, [tensor("t", [3]), tensor("u", [1], 0, 16)], bytes(range(20)), alignment=8),
    "tiny_model": model(array("tokenizer.ggml.merges", STRING, ["a b"]), id_key("eos", 2)),
}
"""Variants that must open. llama.cpp also opens TENSORS_ZERO_DIM and an alignment of 1, which are refused here."""


def main(directory):
    """Write every case as DIRECTORY/NAME.gguf."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in {**{name: case[0] for name, case in CASES.items()}, **VALID}.items():
        (directory / f"{name}.gguf").write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
