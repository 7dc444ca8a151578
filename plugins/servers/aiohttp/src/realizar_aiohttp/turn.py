"""A model's turn in a conversation, from what a request says to a job and to how its answers are read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from realizar.engine.prompt import TOOL_TEMPLATE
from realizar.model import TokenizerSpec
from realizar.model_pool import ServedModel
from realizar.sampling import SamplingParams
from realizar.tool_calls import ReasoningSplitter, tool_format
from realizar.tool_calls.format import ToolFormat
from realizar.tool_calls.reasoning import ThinkMarks, think_marks
from realizar_aiohttp.answer import AnswerReader
from realizar_aiohttp.constraint import Constraint
from realizar_aiohttp.generation import Job
from realizar_aiohttp.problem import not_supported
from realizar_aiohttp.tools import Tools

_TAIL = 32
"""Tokens at the end of a prompt among which a mark would be that begins the reasoning."""


@attrs.frozen
class Begun:
    """A job whose prompt is ids, and what its answers are made of."""

    job: Job
    marks: ThinkMarks | None
    form: ToolFormat | None
    parallel: bool = True

    def behind(self, ids: Sequence[int]) -> Begun:
        """The same behind the ids of an earlier exchange."""
        return attrs.evolve(self, job=attrs.evolve(self.job, prompt=[*ids, *self.job.prompt]))

    def reader(self) -> AnswerReader:
        """A reader for one answer."""
        return AnswerReader(self.marks, self.form, parallel=self.parallel)


@attrs.frozen(kw_only=True)
class Turn:
    """messages and variables: for the chat template. A constraint is on the whole answer, which then has no calls."""

    messages: list[dict[str, Any]]
    params: SamplingParams
    variables: Mapping[str, Any] = attrs.field(factory=dict)
    tools: Tools | None = None
    constraint: Constraint | None = None

    def __attrs_post_init__(self) -> None:
        if self.tools is not None and self.constraint is not None:
            raise not_supported(
                self.constraint.path, "goes not with tools that may be called", 'set tool_choice "none"'
            )

    async def begin(self, model: ServedModel) -> Begun:
        """The job, encoded and with its structure compiled, in a thread; raises Problem for what cannot be kept."""
        return await asyncio.to_thread(self._begin, model)

    def ids(self, model: ServedModel) -> list[int]:
        """The ids of the prompt alone; to be called in a thread."""
        offered = None if self.tools is None else self.tools.offered
        return model.llm.encode(self.messages, tools=offered, **self.variables)

    def _begin(self, model: ServedModel) -> Begun:
        tokenizer, ids = model.llm.tokenizer, self.ids(model)
        if self.constraint is not None:
            params = attrs.evolve(self.params, structured=self.constraint.structure(tokenizer))
            return Begun(Job(ids, params), None, None)
        template = template_of(tokenizer.spec, self.tools)
        marks = think_marks(template, tokenizer.decode(ids[-_TAIL:], skip_special_tokens=False))
        # Some marks of reasoning and of calls are control tokens, which must not be left out of the text.
        params = attrs.evolve(self.params, skip_special_tokens=marks is None and self.tools is None)
        if self.tools is None:
            return Begun(Job(ids, params), marks, None)
        if not self.tools.required and not tells_of_tools(tokenizer.spec):
            raise not_supported(
                "tools", f"the chat template of {model.id} does not tell the model of them",
                'set tool_choice "required", or describe them in the system message',
            )  # fmt: skip
        form = tool_format(template)
        if self.tools.required:
            structure = self.tools.structure(form, tokenizer, ReasoningSplitter(marks))
            params = attrs.evolve(params, structured=structure)
        return Begun(Job(ids, params), marks, form, self.tools.parallel)


def template_of(spec: TokenizerSpec, tools: Tools | None) -> str | None:
    """The chat template that counts: with tools the one for tools, if there is one."""
    named = None if tools is None else spec.named_chat_templates.get(TOOL_TEMPLATE)
    return spec.chat_template if named is None else named


def tells_of_tools(spec: TokenizerSpec) -> bool:
    """Whether a chat template has a place for tools."""
    return TOOL_TEMPLATE in spec.named_chat_templates or "tools" in (spec.chat_template or "")


def prove_thinks(model: ServedModel, path: str) -> None:
    """Refuse the field that asks for reasoning where the chat template has no marks of it."""
    if think_marks(model.llm.tokenizer.spec.chat_template, "") is None:
        raise not_supported(path, f"the chat template of {model.id} knows no reasoning", "leave it out")
