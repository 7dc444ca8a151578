"""What a request says that an answer must be, proved before anything is generated."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import attrs

from realizar.errors import RequestError
from realizar.model_pool import ServedModel
from realizar.structured import Choice, Grammar, JsonSchema, Regex, Structure
from realizar.structured.matcher import prove
from realizar.tokenizers import Tokenizer
from realizar_aiohttp.generation import Job
from realizar_aiohttp.problem import Problem, not_supported

Kind = Literal["json", "regex", "choice", "grammar"]

KINDS: Mapping[Kind, type[Any]] = {"json": JsonSchema, "regex": Regex, "choice": Choice, "grammar": Grammar}

ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
"""The schema of JSON mode."""


@attrs.frozen
class Constraint:
    """The field at `path` asks for a structure of that kind; value: the schema, pattern, texts or rules."""

    path: str
    kind: Kind
    value: Any

    def structure(self, tokenizer: Tokenizer) -> Structure:
        """The structure, compiled for a vocabulary; blocks. Raises Problem with the path of what cannot be kept."""
        with refusals_at(self.path):
            made: Structure = KINDS[self.kind](self.value)
            prove(made, tokenizer)
            return made


async def constrained(jobs: list[Job], constraint: Constraint | None, model: ServedModel) -> list[Job]:
    """The jobs with the structure that is asked for, which is compiled in a thread."""
    if constraint is None:
        return jobs
    structure = await asyncio.to_thread(constraint.structure, model.llm.tokenizer)
    return [attrs.evolve(job, params=attrs.evolve(job.params, structured=structure)) for job in jobs]


@contextlib.contextmanager
def refusals_at(path: str) -> Iterator[None]:
    """RequestErrors of the block become Problems of the field at `path`."""
    try:
        yield
    except RequestError as error:
        text = re.sub(r"^(json_schema|regex|choice|grammar): ", "", str(error))
        raise Problem(status=400, code="invalid_value", param=path, message=f"{path}: {text}") from error


def only_one(constraints: list[Constraint]) -> Constraint | None:
    """The one that a request has, if any; raises Problem for a second one."""
    if len(constraints) > 1:
        first, second = constraints[0].path, constraints[1].path
        raise not_supported(second, f"goes not with {first}: an answer has one form")
    return constraints[0] if constraints else None
