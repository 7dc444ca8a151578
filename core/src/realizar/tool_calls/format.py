"""The contract of a format of tool calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from realizar.tool_calls.reader import Reader, Reading

Mark = Callable[[str], str]
"""A mark as a Lark expression: the control token that it is in a vocabulary, or its text."""


MAX_CALLS = 16
"""Calls of one constrained answer: a model that repeats itself comes to an end."""


class ToolFormat(ABC):
    """How a family of models writes calls."""

    name: ClassVar[str]

    @abstractmethod
    def recognizes(self, template: str) -> bool:
        """Whether a chat template tells a model to write calls so."""

    @abstractmethod
    def read(self, reader: Reader) -> Reading[None]:
        """The deltas of an answer, to its end."""

    @abstractmethod
    def call(self, name: str, arguments: str, mark: Mark) -> str:
        """A call as a Lark expression; arguments: the expression of its JSON object."""

    def calls(self, call: str, parallel: bool, mark: Mark) -> str:
        """One call, or several in a row, as a Lark expression; call: the expression of any one."""
        return f'{call} ("\\n" {call}){{0,{MAX_CALLS - 1}}}' if parallel else call
