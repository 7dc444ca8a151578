"""From what a caller asks to token ids."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

from realizar.errors import RequestError
from realizar.tokenizers import Tokenizer

if TYPE_CHECKING:
    from realizar.chat import ChatTemplate

Message = dict[str, Any]
Prompt = str | Sequence[int] | Sequence[Message]
"""A text, token ids, or chat messages."""


class PromptEncoder:
    """Encodes prompts with a model's tokenizer and, for messages, with its chat template."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._template: ChatTemplate | None = None

    def encode(self, prompt: Prompt) -> list[int]:
        """The ids of a prompt.

        A text is the caller's own: it gets BOS as the file says, and control tokens spelled in it count. Message
        texts are somebody else's: only the template's control tokens count.
        """
        if isinstance(prompt, str):
            return self._tokenizer.encode(prompt, parse_special=True)
        if len(prompt) and all(isinstance(item, dict) for item in prompt):
            return self._encode_messages(prompt)  # type: ignore[arg-type]
        return self._check_ids(prompt)  # type: ignore[arg-type]

    def _encode_messages(self, messages: Sequence[Message]) -> list[int]:
        # Imported here because jinja2 is not needed to continue a text.
        from realizar.chat import ChatTemplate, encode_segments

        if self._template is None:
            self._template = ChatTemplate.from_spec(self._tokenizer.spec)
        return encode_segments(self._tokenizer, self._template.render_segments(messages, add_generation_prompt=True))

    def _check_ids(self, ids: Sequence[int]) -> list[int]:
        last = self._vocab_size - 1
        for token_id in ids:
            if not isinstance(token_id, Integral) or not 0 <= token_id <= last:
                raise RequestError(f"prompt: {token_id!r} is not a token id; this model has 0 to {last}")
        return [int(token_id) for token_id in ids]
