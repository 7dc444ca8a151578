"""A chat template: the jinja2 program that a model file carries, and how it is rendered."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from jinja2.exceptions import TemplateSyntaxError

from realizar.chat.budget import Budget, RenderLimits
from realizar.chat.messages import plain_data, plain_messages
from realizar.chat.sandbox import ChatEnvironment, RejectedConversation, spending
from realizar.chat.segments import Segment, Spellings, segment
from realizar.errors import TemplateError
from realizar.model import CONTROL, TokenizerSpec

_environment = ChatEnvironment()


class ChatTemplate:
    """Renders messages as `transformers` does, within limits of time and size, in a sandbox.

    source: the template; bos_token ... pad_token: variables of those names, undefined if None, as in `transformers`.
    special_tokens: spellings of control tokens, for `render_segments`.
    Raises TemplateError if the template is not valid.
    """

    def __init__(
        self,
        source: str,
        *,
        bos_token: str | None = None,
        eos_token: str | None = None,
        unk_token: str | None = None,
        pad_token: str | None = None,
        special_tokens: Sequence[str] = (),
        limits: RenderLimits | None = None,
    ) -> None:
        self.source = source
        self.limits = limits or RenderLimits()
        tokens = {"bos_token": bos_token, "eos_token": eos_token, "unk_token": unk_token, "pad_token": pad_token}
        self._tokens = {name: token for name, token in tokens.items() if token is not None}
        self._spellings = Spellings(special_tokens)
        if len(source) > self.limits.max_source_chars:
            raise TemplateError(
                f"the chat template has {len(source)} characters, expected at most {self.limits.max_source_chars}; "
                f"go without it (--raw)"
            )
        try:
            with spending(Budget(self.limits)):
                self._template = _environment.from_string(source)
        except TemplateError:
            raise
        except Exception as error:  # the compiler meets hostile input: recursion, memory, digits, syntax
            raise TemplateError(f"the chat template is not valid{_where(error)}: {_what(error)}") from error

    @classmethod
    def from_spec(cls, spec: TokenizerSpec, *, name: str | None = None, limits: RenderLimits | None = None) -> Self:
        """The template of a model file: the default one, or the one it calls `name`.

        Raises TemplateError if the file has none: a template is never guessed.
        """
        source = spec.chat_template if name is None else spec.named_chat_templates.get(name)
        if source is None:
            raise _no_template(spec, name)

        def token(token_id: int | None) -> str | None:
            return None if token_id is None else spec.tokens[token_id]

        types = spec.token_types or ()
        return cls(
            source,
            bos_token=token(spec.bos_token_id),
            eos_token=token(spec.eos_token_ids[0] if spec.eos_token_ids else None),
            unk_token=token(spec.unk_token_id),
            pad_token=token(spec.pad_token_id),
            special_tokens=[piece for piece, kind in zip(spec.tokens, types, strict=False) if kind == CONTROL],
            limits=limits,
        )

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> str:
        """The text of the prompt.

        messages: mappings with a role and a content, of plain data (text, numbers, lists, mappings).
        Raises TemplateError if the template fails, calls `raise_exception`, or passes the limits.
        """
        return self._render(self._context(messages, add_generation_prompt, tools, documents, variables))

    def render_segments(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> list[Segment]:
        """The text of the prompt in pieces, by whether a control token spelled in them is meant.

        Their concatenation is `render` of the same. Only where the text of a message, a tool, a document or a variable
        spells a control token is there more than one piece. Raises TemplateError as `render` does, and if the template
        rewrites such text so that what it spelled and what the template wrote cannot be told apart.
        """
        context = self._context(messages, add_generation_prompt, tools, documents, variables)
        return segment(context, self._render, self._spellings)

    def _context(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool,
        tools: Sequence[Mapping[str, Any]] | None,
        documents: Sequence[Mapping[str, Any]] | None,
        variables: Mapping[str, Any],
    ) -> dict[str, Any]:
        return {
            **plain_data(variables, "variables"),
            "messages": plain_messages(messages),
            "tools": plain_data(tools, "tools"),
            "documents": plain_data(documents, "documents"),
            "add_generation_prompt": add_generation_prompt,
        }

    def _render(self, context: Mapping[str, Any]) -> str:
        try:
            with spending(Budget(self.limits)) as budget:
                budget.weigh(context)
                return self._bounded(self._template.generate({**self._tokens, **context}), budget)
        except TemplateError:
            raise
        except RejectedConversation as error:
            raise TemplateError(f"the chat template rejects this conversation: {error}") from error
        except Exception as error:  # a template is a program: it can fail in any way
            raise TemplateError(f"the chat template fails{_where(error)}: {_what(error)}") from error

    def _bounded(self, pieces: Iterable[str], budget: Budget) -> str:
        """All pieces joined, counted as they come."""
        written, size = [], 0
        for piece in pieces:
            written.append(piece)
            size += len(piece)
            budget.charge(len(piece))
            if size > self.limits.max_chars:
                raise TemplateError(
                    f"the chat template wrote more than {self.limits.max_chars} characters; shorten the "
                    f"conversation, or go without the template (--raw)"
                )
        return "".join(written)


def _no_template(spec: TokenizerSpec, name: str | None) -> TemplateError:
    named = sorted(spec.named_chat_templates)
    wanted = "no chat template" if name is None else f"no chat template named {name!r}"
    others = f" (it names {', '.join(named)})" if named else ""
    return TemplateError(
        f"{spec.source}: has {wanted}{others}, and one is never guessed; "
        f"give a template, or a prompt without one (--raw)"
    )


def _where(error: BaseException) -> str:
    """The template's line at which an error arose."""
    if isinstance(error, TemplateSyntaxError):
        return f" at line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"]
    return f" at line {lines[-1]}" if lines else ""


def _what(error: BaseException) -> str:
    kind = type(error).__name__
    text = str(error)[:500]
    return f"{kind}: {text}" if text else kind
