"""How many random, bounded schemas are finished by random sampling, and whether what is finished validates.

    python tests/benchmarks/structured_share.py smollm2 --schemas 1000

Needs `jsonschema`, which is the judge. Prints one JSON object of counts; exits 1 if fewer than 90 % finish or a
finished output does not validate.
"""

from __future__ import annotations

import argparse
import json
import random
import string
import sys
import time
from typing import Any

import jsonschema

from realizar import LLM, SamplingParams
from realizar.structured import JsonSchema

MAX_DEPTH = 3


def random_schema(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    """A schema whose texts are bounded: every string, array and object has a limit, numbers are integers or words."""
    kinds = ["string", "integer", "choice", "format", "pattern"]
    if depth < MAX_DEPTH:
        kinds += ["object", "array", "anyOf", "object"]
    return globals()[f"_{'any_of' if (kind := rng.choice(kinds)) == 'anyOf' else kind}"](rng, depth)


def _name(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 9)))


def _string(rng: random.Random, depth: int) -> dict[str, Any]:
    least = rng.randint(0, 4)
    return {"type": "string", "minLength": least, "maxLength": least + rng.randint(0, 20)}


def _integer(rng: random.Random, depth: int) -> dict[str, Any]:
    least = rng.randint(-1000, 1000)
    bounds = {"minimum": least, "maximum": least + rng.randint(5, 10_000)}
    return {"type": "integer", **bounds, **({"multipleOf": rng.randint(2, 5)} if rng.random() < 0.2 else {})}


def _choice(rng: random.Random, depth: int) -> dict[str, Any]:
    return rng.choice(
        [{"enum": [_name(rng) for _ in range(rng.randint(1, 5))]}, {"type": "boolean"}, {"type": ["null", "boolean"]},
         {"const": {"v": rng.randint(0, 9)}}]
    )  # fmt: skip


def _format(rng: random.Random, depth: int) -> dict[str, Any]:
    return {"type": "string", "format": rng.choice(["date", "uuid", "ipv4", "time"])}


def _pattern(rng: random.Random, depth: int) -> dict[str, Any]:
    pattern = rng.choice(["^[a-z]{2,8}$", "^[A-Z]{3}-[0-9]{4}$", "^(red|green|blue)( light| dark)?$", "^[0-9]{1,6}$"])
    return {"type": "string", "pattern": pattern}


def _array(rng: random.Random, depth: int) -> dict[str, Any]:
    least = rng.randint(0, 2)
    return {
        "type": "array", "items": random_schema(rng, depth + 1), "minItems": least,
        "maxItems": least + rng.randint(0, 3),
    }  # fmt: skip


def _object(rng: random.Random, depth: int) -> dict[str, Any]:
    properties = {_name(rng): random_schema(rng, depth + 1) for _ in range(rng.randint(1, 4))}
    required = [name for name in properties if rng.random() < 0.7]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _any_of(rng: random.Random, depth: int) -> dict[str, Any]:
    return {"anyOf": [random_schema(rng, depth + 1) for _ in range(rng.randint(2, 3))]}


def measured(llm: LLM, schemas: list[dict[str, Any]], args: argparse.Namespace) -> dict[str, Any]:
    """Counts over all schemas, each answered once with the model's own distribution at a temperature."""
    counts: dict[str, Any] = {"schemas": len(schemas), "finished": 0, "cut": 0, "invalid": []}
    tokens, started = 0, time.perf_counter()
    for begin in range(0, len(schemas), args.batch):
        part = schemas[begin : begin + args.batch]
        streams = []
        for i, schema in enumerate(part):
            params = SamplingParams(
                structured=JsonSchema(schema), temperature=args.temperature, max_tokens=args.max_tokens,
                seed=args.seed + begin + i,
            )  # fmt: skip
            streams.append(llm.stream([{"role": "user", "content": "Make up an example as JSON."}], params))
        for schema, stream in zip(part, streams, strict=True):
            done = stream.completion()
            tokens += len(done.token_ids)
            if done.finish_reason != "stop":
                counts["cut"] += 1
                continue
            counts["finished"] += 1
            if (problem := _problem(schema, done.text)) is not None:
                counts["invalid"].append({"schema": schema, "text": done.text, "problem": problem})
    share = counts["finished"] / len(schemas)
    return counts | {"share": share, "tokens": tokens, "seconds": round(time.perf_counter() - started, 1)}


def _problem(schema: dict[str, Any], text: str) -> str | None:
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    try:
        jsonschema.Draft202012Validator(schema, format_checker=checker).validate(json.loads(text))
    except (ValueError, jsonschema.ValidationError) as error:
        return str(error).splitlines()[0]
    return None


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--schemas", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--max-tokens", type=int, default=768)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backend")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    schemas = [random_schema(rng) for _ in range(args.schemas)]
    with LLM(args.model, backend=args.backend, max_model_len=1024) as llm:
        result = measured(llm, schemas, args)
    print(json.dumps(result, indent=1))
    return 0 if result["share"] >= 0.9 and not result["invalid"] else 1


if __name__ == "__main__":
    sys.exit(main())
