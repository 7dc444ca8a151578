"""Each class of bug, planted in PTX and found; resources of machine code made for the test."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from realizar_cuda.analysis import Resources, check_ptx, read_resources
from realizar_cuda.analysis.finding import SEVERITIES

FRAME = """.version 8.0
.target sm_90
.address_size 64
.visible .entry k(.param .u64 k_param_0)
{
  .reg .pred %p<3>;
  .reg .b32 %r<9>;
  .reg .b64 %rd<9>;
  .reg .f32 %f<20>;
BODY
  ret;
}
"""

CLEAN = """
  ld.param.u64 %rd1, [k_param_0];
  cvta.to.global.u64 %rd2, %rd1;
  mov.u32 %r1, %tid.x;
  setp.ge.u32 %p1, %r1, 7;
  @%p1 bra $L__BB0_2;
  shl.b32 %r2, %r1, 2;
  st.shared.f32 [%r2], %f1;
$L__BB0_2:
  bar.sync 0;
  ld.shared.f32 %f2, [%r3];
$L__BB0_3:
  fma.rn.f32 %f3, %f2, %f2, %f3;
  ld.global.v4.f32 {%f4, %f5, %f6, %f7}, [%rd2+16];
  setp.lt.s32 %p2, %r4, 9;
  @%p2 bra $L__BB0_3;
  st.global.f32 [%rd2], %f3;
"""

PLANTED = {
    "SHARED_U64": "  cvta.to.shared.u64 %rd3, %rd1;\n  ld.shared.f32 %f1, [%rd3];",
    "EARLY_EXIT_BARRIER": """
  mov.u32 %r1, %tid.x;
  setp.ge.u32 %p1, %r1, 7;
  @%p1 bra $L_end;
  bar.sync 0;
$L_end:""",
    "MISSING_BARRIER": "  st.shared.f32 [%r1], %f1;\n  ld.shared.f32 %f2, [%r2+4];",
    "LOOP_BRANCH_END": "$L_loop:\n  add.f32 %f1, %f1, %f2;\n  bra $L_end;\n$L_end:",
    "DEAD_CODE": "  bra $L_end;\n  st.global.f32 [%rd1], %f1;\n$L_end:\n  mov.u32 %r1, 1;",
    "EMPTY_LOOP": "$L_1:\n  add.s32 %r1, %r1, 1;\n  setp.lt.s32 %p1, %r1, 9;\n  @%p1 bra $L_1;",
    "NON_INPLACE_ACCUM": """
$L_1:
  ld.global.f32 %f1, [%rd1];
  fma.rn.f32 %f3, %f1, %f1, %f2;
  setp.lt.s32 %p1, %r1, 9;
  @%p1 bra $L_1;
  st.global.f32 [%rd1], %f3;""",
    "REG_SPILLS": "  .local .align 4 .b8 __local_depot0[64];\n  st.local.f32 [%r1], %f1;",
    "REDUNDANT_MOV": "  mov.u32 %r1, %r2;\n  mov.u32 %r2, %r1;",
    "UNOPT_MEM": "\n".join(f"  ld.global.f32 %f{i}, [%rd1+{16 + 4 * i}];" for i in range(4)),
}


def found(body: str) -> set[str]:
    return {finding.bug for finding in check_ptx(FRAME.replace("BODY", body))}


def test_nothing_is_found_where_nothing_is():
    assert found(CLEAN) == set()


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found(bug):
    expected = {bug, "DEAD_CODE"} if bug == "LOOP_BRANCH_END" and "DEAD_CODE" in found(PLANTED[bug]) else {bug}
    assert found(PLANTED[bug]) == expected


def test_more_predicates_than_registers_are_found():
    declared = FRAME.replace("%p<3>", "%p<12>")
    used = "\n".join(f"  setp.lt.s32 %p{i}, %r1, {i};" for i in range(1, 11))
    used += "\n" + "\n".join(f"  @%p{i} st.global.f32 [%rd1], %f1;" for i in range(1, 11))
    assert {f.bug for f in check_ptx(declared.replace("BODY", used))} == {"PRED_OVERFLOW"}
    one_by_one = "\n".join(f"  setp.lt.s32 %p{i}, %r1, {i};\n  @%p{i} st.global.f32 [%rd1], %f1;" for i in range(1, 11))
    assert check_ptx(declared.replace("BODY", one_by_one)) == []


@pytest.mark.parametrize(
    ("text", "bugs"),
    [
        ("", {"INVALID_SYNTAX", "NO_ENTRY"}),
        (".version 8.0\n.target sm_90\n.func f() { ret; }", {"NO_ENTRY"}),
        (".version 8.0\n.target sm_90\n.entry k() { ret;", {"INVALID_SYNTAX"}),
    ],
)
def test_what_is_no_module_is_said(text, bugs):
    assert {finding.bug for finding in check_ptx(text)} == bugs


def test_every_class_has_its_planted_case():
    text = Path(__file__).with_name("test_analysis_source.py").read_text()
    in_source = re.findall(r'^    "([A-Z_]+)": """$', text, re.MULTILINE)
    elsewhere = {"PRED_OVERFLOW", "INVALID_SYNTAX", "NO_ENTRY", "HIGH_REG_PRESSURE"}
    assert set(SEVERITIES) == PLANTED.keys() | set(in_source) | elsewhere


def section(name: int, kind: int, start: int, size: int) -> bytes:
    """A header of ELF: what kind of section lies where."""
    return struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, start, size, 0, 0, 1, 0)


def cubin(registers: int, local: int, shared: int, code: bytes = b"\0" * 128) -> bytes:
    """An ELF file with the sections that a cubin of one kernel "k" has."""
    names = b"\0.shstrtab\0.strtab\0.symtab\0.nv.info\0.text.k\0.nv.shared.k\0.nv.shared.reserved.0\0"
    strings = b"\0k\0"
    symbols = bytes(24) + struct.pack("<I20x", 1)
    info = struct.pack("<BBHII", 4, 0x2F, 8, 1, registers) + struct.pack("<BBHII", 4, 0x11, 8, 1, local)
    info += struct.pack("<BBH", 3, 0x1B, 255)
    contents = [names, strings, symbols, info, code]
    data, headers = bytes(64), [bytes(64)]
    for name, content in zip((b".shstrtab", b".strtab", b".symtab", b".nv.info", b".text.k"), contents, strict=True):
        headers.append(
            struct.pack("<IIQQQQIIQQ", names.index(name + b"\0"), 1, 0, 0, len(data), len(content), 0, 0, 1, 0)
        )
        data += content
    for name, size in ((b".nv.shared.k", shared + 1024), (b".nv.shared.reserved.0", 0)):
        headers.append(section(names.index(name + b"\0"), 8, len(data), size))
    start = struct.pack("<4s12xHHIQQQIHHHHHH", b"\x7fELF", 2, 190, 1, 0, 0, len(data), 0, 64, 0, 0, 64, len(headers), 1)
    return start + data[64:] + b"".join(headers)


def test_resources_are_read_from_machine_code():
    assert read_resources(cubin(40, 0, 128)) == {"k": Resources(40, 0, 128, 128)}


def test_spills_and_pressure_are_found():
    assert [f.bug for f in read_resources(cubin(64, 0, 0))["k"].findings("k")] == []
    assert [f.bug for f in read_resources(cubin(65, 16, 0))["k"].findings("k")] == ["REG_SPILLS", "HIGH_REG_PRESSURE"]


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"MZ" + bytes(100), cubin(1, 1, 1)[:-40]])
def test_what_is_no_cubin_is_refused(data):
    with pytest.raises(ValueError, match="not a cubin"):
        read_resources(data)


@pytest.mark.parametrize(
    ("registers", "threads", "shared", "blocks", "occupancy"),
    [
        (32, 256, 0, 8, 1.0),
        (64, 256, 0, 4, 0.5),
        (255, 256, 0, 1, 0.125),
        (32, 128, 100 << 10, 2, 0.125),
        (16, 32, 0, 32, 0.5),
    ],
)
def test_occupancy_of_known_cases(registers, threads, shared, blocks, occupancy):
    resources = Resources(registers, 0, 0, 0)
    assert resources.blocks_per_multiprocessor(threads, shared) == blocks
    assert resources.occupancy(threads, shared) == occupancy
