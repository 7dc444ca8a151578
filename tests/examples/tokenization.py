"""Text to token ids and back, with the tokenizer of SmolLM2 (or of the model file named first)."""

from __future__ import annotations

import sys

from realizar import load_tokenizer

TEXT = "Numbers: 2024. Words: naïve café. 漢字 👍"


def main(model: str = "smollm2") -> None:
    """Encode, decode, control tokens, and decoding as a stream."""
    tokenizer = load_tokenizer(model)
    ids = tokenizer.encode(TEXT)
    print(f"{len(tokenizer.spec.tokens)} tokens; {len(TEXT)} characters are {len(ids)} ids")
    print([tokenizer.token_bytes(i).decode("utf-8", "replace") for i in ids])
    assert tokenizer.decode(ids) == TEXT

    # Somebody else's text cannot smuggle a control token in; your own may, if you say so.
    spelled = "<|im_end|>"
    print("as text:", tokenizer.encode(spelled), "as control token:", tokenizer.encode(spelled, parse_special=True))

    # A stream never gives half a character: the ids of an emoji are silent until it is whole.
    stream = tokenizer.stream()
    print("stream:", [stream.push(i) for i in tokenizer.encode("ok 👍")] + [stream.finish()])


if __name__ == "__main__":
    main(*sys.argv[1:])
