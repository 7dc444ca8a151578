"""The jinja2 environment of chat templates: what `transformers` offers them, and a budget on every operation."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import nodes, pass_context, pass_eval_context
from jinja2.exceptions import SecurityError
from jinja2.exceptions import TemplateError as JinjaError
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEscapeFormatter, SandboxedFormatter
from jinja2.utils import Namespace
from markupsafe import Markup

from realizar.chat.budget import STEP, Budget
from realizar.chat.costs import (
    Arguments,
    charge_field,
    charge_filter,
    charge_method,
    charge_operator,
    materialize,
)
from realizar.chat.metering import KEEP, LOOK, TICK, Meter

_MAX_DATE_FORMAT = 1000
_LOOKING_TESTS = frozenset("in eq == equalto ne != lt < lessthan le <= gt > greaterthan ge >= lower upper".split())

_budget: ContextVar[Budget] = ContextVar("_budget")


@contextmanager
def spending(budget: Budget) -> Iterator[Budget]:
    """Within it, templates compiled or rendered in this thread or task spend `budget`."""
    token = _budget.set(budget)
    try:
        yield budget
    finally:
        _budget.reset(token)


class RejectedConversation(JinjaError):
    """The template called `raise_exception`."""


def _raise_exception(message: object) -> NoReturn:
    _budget.get().weigh(message)
    raise RejectedConversation(str(message)[:1000])


def _tojson(
    x: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _strftime_now(format: str) -> str:
    if len(format) > _MAX_DATE_FORMAT:
        raise JinjaError(f"strftime_now: found a format of {len(format)} characters, expected {_MAX_DATE_FORMAT}")
    return datetime.now().strftime(format)


class _Dict:
    """`dict` as templates may use it: a call and `fromkeys`, no type to climb from."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, keys: Iterable[Any], value: Any = None) -> dict[Any, Any]:
        return dict.fromkeys(keys, value)


class _Namespace(Namespace):
    """A namespace whose attributes cannot begin with an underscore, and which cannot be printed.

    It alone is mutable, so it can contain itself, and what it prints cannot be weighed beforehand.
    """

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, values = args[0], dict(*args[1:], **kwargs)
        for name in values:
            _check_public(name)
        Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_public(name)
        super().__setitem__(name, value)

    def __repr__(self) -> str:
        raise SecurityError("a namespace cannot be printed")


def _check_public(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"found the namespace attribute {name[:100]!r}, expected no leading underscore")


class _Generation(Extension):
    """`{% generation %}`: marks what the assistant wrote, for training; here its body is rendered as it is."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.CallBlock:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body, lineno=line)

    @pass_eval_context
    def _body(self, _: nodes.EvalContext, caller: Macro) -> str:
        return caller()


class _MeteredFormatter(SandboxedFormatter):
    def format_field(self, value: Any, format_spec: str) -> Any:
        charge_field(_budget.get(), value, format_spec)
        return super().format_field(value, format_spec)

    def convert_field(self, value: Any, conversion: Any) -> Any:
        _budget.get().charge(_budget.get().weigh(value))
        return super().convert_field(value, conversion)


class _MeteredEscapeFormatter(_MeteredFormatter, SandboxedEscapeFormatter):
    pass


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox in which `transformers` renders chat templates, metered by the `spending` budget.

    Options, extensions, filters and globals: `transformers.utils.chat_template_utils`, version 5. `lipsum` is left
    out: it makes random text of any length.
    """

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self) -> None:
        # unoptimized, and with a finalizer that needs the context: no code of the template runs while it is compiled
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, LoopControlExtension],
            optimized=False,
            finalize=self._printed,
        )
        self.filters["tojson"] = _tojson
        self.filters = {name: _metered_filter(name, function) for name, function in self.filters.items()}
        self.filters |= {TICK: _tick, LOOK: _look, KEEP: _keep}
        self.tests = {name: _metered_test(name, function) for name, function in dict[str, Any](self.tests).items()}
        del self.globals["lipsum"]
        self.globals |= {
            "raise_exception": _raise_exception,
            "strftime_now": _strftime_now,
            "dict": _Dict(),
            "namespace": _Namespace,
        }

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = Meter().visit(super()._parse(source, name, filename))
        tree.set_environment(self)
        return tree

    @pass_context
    def _printed(self, _: Context, value: Any) -> Any:
        _budget.get().reserve(_budget.get().weigh(value))
        return value

    @staticmethod
    def concat(pieces: Iterable[str]) -> str:
        """Join what a block, a macro or the whole template has written."""
        pieces = list(pieces)
        _budget.get().reserve(sum(map(len, pieces)))
        return "".join(pieces)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """An intercepted operator, charged."""
        charge_operator(_budget.get(), operator, left, right)
        return _budget.get().keep(super().call_binop(context, operator, left, right))

    def getitem(self, obj: Any, argument: Any) -> Any:
        """A subscript; its key may be a text or a tuple that must be hashed."""
        _budget.get().charge(_budget.get().weigh(argument))
        return super().getitem(obj, argument)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """A call of a function, a macro or a method, charged before and after."""
        budget = _budget.get()
        budget.charge(STEP)
        owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if name == "join":
            args = tuple(materialize(budget, value) for value in args)
        charge_method(budget, owner, name, Arguments(args, kwargs))
        result = super().call(context, obj, *args, **kwargs)
        return result if isinstance(owner, dict) and name == "get" else budget.keep(result)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`str.format` and `str.format_map` with a formatter that is sandboxed and metered."""
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None
        text: str = value.__self__
        formatter = _MeteredFormatter(self)
        if isinstance(text, Markup):
            formatter = _MeteredEscapeFormatter(self, escape=text.escape)

        @functools.wraps(value)
        def render(*args: Any, **kwargs: Any) -> str:
            _budget.get().charge(len(text))
            if value.__name__ == "format_map":
                (kwargs,), args = args, ()
            return type(text)(formatter.vformat(text, args, kwargs))

        return render


def _tick(value: Any) -> Any:
    _budget.get().charge(STEP)
    return value


def _look(value: Any) -> Any:
    _budget.get().charge(_budget.get().weigh(value))
    return value


def _keep(value: Any) -> Any:
    return _budget.get().keep(value)


def _metered_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    skip = 1 if hasattr(function, "jinja_pass_arg") else 0  # the context or environment that jinja2 puts first

    @functools.wraps(function)
    def metered(*args: Any, **kwargs: Any) -> Any:
        budget = _budget.get()
        budget.charge(STEP)
        passed, value, rest = args[:skip], args[skip], args[skip + 1 :]
        if name in ("join", "sum"):
            value = materialize(budget, value)
        charge_filter(budget, name, value, Arguments(rest, kwargs))
        result = function(*passed, value, *rest, **kwargs)
        is_new = result is not value and not any(result is argument for argument in rest)
        return budget.keep(result) if is_new else result

    return metered


def _metered_test(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    looks = name in _LOOKING_TESTS

    @functools.wraps(function)
    def metered(*args: Any, **kwargs: Any) -> Any:
        budget = _budget.get()
        budget.charge(STEP + (sum(map(budget.weigh, args)) if looks else 0))
        return function(*args, **kwargs)

    return metered
