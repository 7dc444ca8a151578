"""Reading assembly, on a text written here in LLVM's manner."""

from __future__ import annotations

import pytest

from realizar_numba.assembly import Instruction, hot_loop

LISTING = """
	.file	"<string>"
kernel:
	pushq	%rbp
	movq	%rsp, %rbp
	vpxor	%xmm1, %xmm1, %xmm1
.LBB0_1:
	vmovdqu64	(%rdi), %zmm0
.LBB0_2:                                # %inner
	vmovdqu64	64(%rdi,%rax), %zmm2
	vpandq	(%rsi), %zmm2, %zmm3
	vpdpbusd	16(%rcx){1to16}, %zmm3, %zmm1
	vpdpbusd	%zmm2, %zmm3, %zmm4
	vmovups	%ymm5, -64(%rbp)        # 32-byte Spill
	vpsrld	$4, %zmm2, %zmm2
	prefetcht1	1536(%rdi)
	decq	%rax
	jne	.LBB0_2
	vcvtdq2ps	%zmm1, %zmm1
	decq	%rdx
	jne	.LBB0_1
.LBB0_3:
	vpdpbusd	%zmm2, %zmm3, %zmm4
	jmp	.LBB0_3
.LBB0_4:
	vmovups	%zmm4, (%rdx)
	retq
"""


def is_dot(instruction: Instruction) -> bool:
    return instruction.kind == "dot"


def test_the_hot_loop_is_the_innermost_with_most_of_what_matters():
    loop = hot_loop(LISTING, is_dot)
    assert loop is not None
    assert len(loop.instructions) == 9
    assert loop.named("vpdp") == {"vpdpbusd": 2}
    assert loop.widths() == {512: 5, 256: 1}
    assert loop.kinds() == {"dot": 2, "load": 1, "logic": 1, "store": 1, "shift": 1}
    assert loop.products("vpdpbusd") == 128
    assert sum(i.reads_memory for i in loop.vectors) == 3
    assert loop.num_spills == 1


def test_an_encoding_is_no_part_of_the_name():
    loop = hot_loop(LISTING.replace("vpdpbusd	%zmm", "{vex}	vpdpbusd	%zmm"), is_dot)
    assert loop is not None
    assert loop.named("vpdp") == {"vpdpbusd": 2}


def test_a_loop_around_is_found_by_what_only_it_holds():
    loop = hot_loop(LISTING, lambda instruction: instruction.mnemonic == "vcvtdq2ps")
    assert loop is not None
    assert loop.instructions[0].operands == "(%rdi), %zmm0"
    assert loop.instructions[-1] == Instruction("jne", ".LBB0_1")


def test_rbp_is_not_the_stack_without_a_frame():
    loop = hot_loop(LISTING.replace("movq	%rsp, %rbp", ""), is_dot)
    assert loop is not None and loop.num_spills == 0


def test_no_loop():
    assert hot_loop(LISTING, lambda instruction: instruction.mnemonic == "retq") is None
    assert hot_loop("", is_dot) is None


@pytest.mark.parametrize(
    ("mnemonic", "operands", "kind"),
    [
        ("vmovups", "(%rax), %zmm0", "load"),
        ("vmovups", "%zmm0, (%rax) {%k1}", "store"),
        ("vmovaps", "%zmm0, %zmm1", "move"),
        ("vpbroadcastd", "4(%rax), %zmm1", "load"),
        ("vpbroadcastd", "%xmm0, %zmm1", "shuffle"),
        ("vpmaddwd", "%ymm1, %ymm2, %ymm3", "dot"),
        ("pmaddubsw", "%xmm1, %xmm2", "dot"),
        ("vfmadd231ps", "(%rax){1to16}, %zmm1, %zmm0", "fma"),
        ("vfnmadd213ps", "%zmm2, %zmm1, %zmm0", "fma"),
        ("vcvtph2ps", "(%rax), %zmm0", "convert"),
        ("vpmovzxbd", "(%rax), %zmm0", "convert"),
        ("vpsrlw", "$4, %zmm0, %zmm0", "shift"),
        ("vpternlogq", "$216, %zmm0, %zmm1, %zmm2", "logic"),
        ("vpshufb", "%zmm0, %zmm1, %zmm2", "shuffle"),
        ("vpsubd", "%zmm0, %zmm1, %zmm2", "arithmetic"),
        ("vpcmpgtb", "%ymm0, %ymm1, %ymm2", "compare"),
        ("vaesenc", "%zmm0, %zmm1, %zmm2", "other"),
    ],
)
def test_kinds(mnemonic, operands, kind):
    assert Instruction(mnemonic, operands).kind == kind


def test_products_follow_the_width():
    assert Instruction("vpdpbusd", "%zmm1, %zmm2, %zmm3").products == 64
    assert Instruction("vpmaddubsw", "%ymm1, %ymm2, %ymm3").products == 32
    assert Instruction("vfmadd213ps", "%zmm1, %zmm2, %zmm3").products == 16
    assert Instruction("vpmaddwd", "%zmm1, %zmm2, %zmm3").products == 0  # it only adds up what vpmaddubsw multiplied
