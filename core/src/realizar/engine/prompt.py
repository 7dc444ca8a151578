"""From what a caller asks to token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import attrs

from realizar.errors import RequestError
from realizar.tokenizers import Tokenizer

if TYPE_CHECKING:
    from realizar.chat import ChatTemplate

Message = dict[str, Any]
Tools = Sequence[Mapping[str, Any]] | None
Prompt = str | Sequence[int] | Sequence[Message]
"""A text, token ids, or chat messages."""


TOOL_TEMPLATE = "tool_use"
"""The name of the template that files have for conversations with tools."""


@attrs.frozen
class ChatOptions:
    """What goes into a chat template beside the messages.

    tools: descriptions of functions, as in OpenAI's interface. chat_template: the name of one of the file's templates.
    variables: further ones ("enable_thinking", "documents").
    """

    tools: Tools = None
    chat_template: str | None = None
    variables: Mapping[str, Any] = attrs.field(factory=dict)


PLAIN_CHAT = ChatOptions()


class PromptEncoder:
    """Encodes prompts with a model's tokenizer and, for messages, with its chat template."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._templates: dict[str | None, ChatTemplate] = {}

    def encode(self, prompt: Prompt, chat: ChatOptions = PLAIN_CHAT) -> list[int]:
        """The ids of a prompt.

        A text is the caller's own: it gets BOS as the file says, and control tokens spelled in it count. Message
        texts are somebody else's: only the template's control tokens count. Raises RequestError if `chat` asks for
        something that only messages have.
        """
        if len(prompt) and not isinstance(prompt, str) and all(isinstance(item, dict) for item in prompt):
            return self._encode_messages(prompt, chat)  # type: ignore[arg-type]
        if chat != PLAIN_CHAT:
            raise RequestError("tools, a chat template and its variables go with messages; this prompt has none")
        if isinstance(prompt, str):
            return self._tokenizer.encode(prompt, parse_special=True)
        return self._check_ids(prompt)  # type: ignore[arg-type]

    def _encode_messages(self, messages: Sequence[Message], chat: ChatOptions) -> list[int]:
        # Imported here because jinja2 is not needed to continue a text.
        from realizar.chat import encode_segments

        template = self._template(self._template_name(chat))
        variables = {"add_generation_prompt": True, **chat.variables}
        return encode_segments(self._tokenizer, template.render_segments(messages, tools=chat.tools, **variables))

    def _template_name(self, chat: ChatOptions) -> str | None:
        """As in `transformers`: the one that is asked for, else with tools the one for tools, else the default."""
        if chat.chat_template is None and chat.tools and TOOL_TEMPLATE in self._tokenizer.spec.named_chat_templates:
            return TOOL_TEMPLATE
        return chat.chat_template

    def _template(self, name: str | None) -> ChatTemplate:
        from realizar.chat import ChatTemplate

        if name not in self._templates:
            self._templates[name] = ChatTemplate.from_spec(self._tokenizer.spec, name=name)
        return self._templates[name]

    def _check_ids(self, ids: Sequence[int]) -> list[int]:
        last = self._vocab_size - 1
        for token_id in ids:
            if not isinstance(token_id, Integral) or not 0 <= token_id <= last:
                raise RequestError(f"prompt: {token_id!r} is not a token id; this model has 0 to {last}")
        return [int(token_id) for token_id in ids]
