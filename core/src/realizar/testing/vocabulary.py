"""A small byte-level BPE vocabulary that can spell every text."""

from __future__ import annotations

from realizar.model import CONTROL, NORMAL, USER_DEFINED, TokenizerSpec

_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHERS = tuple(byte for byte in range(256) if byte not in _PRINTABLE)

BYTE_PIECES = tuple(chr(b if b in _PRINTABLE else 0x100 + _OTHERS.index(b)) for b in range(256))
"""The piece of each byte. Source: GPT-2's byte alphabet; unprintable bytes move to U+0100 and on."""

MERGES = tuple(
    "Ġ t|h e|Ġ a|i n|r e|o n|Ġt he|e r|Ġ s|a t|Ġ w|Ġ o|e n|Ġ c|i t|i s|a n|o r|e s|Ġ b|e d|Ġ f|in g|Ġ p|o u|Ġa n|a l|"
    "a r|Ġt o|Ġ m|Ġo f|Ġ in|Ġ d|Ġ h|Ġan d|i c|a s|l e|Ġt h|i on".split("|")
)

CONTROL_PIECES = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
USER_PIECES = ("<think>",)

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_tokenizer() -> TokenizerSpec:
    """300 tokens: 3 control tokens, 256 bytes, 40 merges, 1 user-defined token; BOS is asked for, EOS is not."""
    merged = tuple(merge.replace(" ", "") for merge in MERGES)
    groups = ((CONTROL_PIECES, CONTROL), (BYTE_PIECES + merged, NORMAL), (USER_PIECES, USER_DEFINED))
    return TokenizerSpec(
        model="bpe",
        pre="gpt-2",
        source="tiny model",
        tokens=[piece for pieces, _ in groups for piece in pieces],
        token_types=[kind for pieces, kind in groups for _ in pieces],
        merges=list(MERGES),
        bos_token_id=0,
        eos_token_ids=(2,),
        add_bos_token=True,
        chat_template=CHAT_TEMPLATE,
    )
