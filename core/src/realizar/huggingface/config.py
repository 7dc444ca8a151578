"""config.json in the terms of ModelConfig, old style (rope_scaling) and new (rope_parameters)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from realizar.errors import ModelError
from realizar.huggingface.families import FAMILIES, Family
from realizar.huggingface.keys import ACTIVATIONS, HARMLESS, INTEGERS, LISTS, OBJECTS, ONLY, POSITIVE, SPELLINGS
from realizar.huggingface.rope import read_rope
from realizar.model import ModelConfig, structure_config


def read_hf_config(values: Mapping[str, Any], source: str) -> ModelConfig:
    """The configuration that the parsed config.json `values` describes; source: the file, for errors.

    Keys that nobody here understands join `unknown`; raises ModelError for missing keys, mistyped ones, and values
    whose effect on the result is not implemented.
    """
    given = _text_part(values, source)
    model_type = given.get("model_type")
    if not isinstance(model_type, str):
        raise ModelError(f"{source}: model_type is {model_type!r}; expected the name of a model family")
    family = FAMILIES.get(model_type, Family())
    given = _present({**family.defaults, **_spelled(given)})
    _prove_types(given, source)
    given = _present(given | family.derive(given))
    _refuse_unsupported(given, source)
    config = {key: value for key, value in given.items() if key not in ONLY and key not in HARMLESS}
    config |= _sizes(given, source)
    config |= read_rope(given, config["head_dim"], source)
    config["hidden_act"] = _activation(given.get("hidden_act", "silu"), source)
    for key in ("rope_parameters", "partial_rotary_factor", "original_max_position_embeddings"):
        config.pop(key, None)
    return structure_config(config, source)


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without null values, which count as absent; they take a default away, though."""
    return {key: value for key, value in values.items() if value is not None}


def _spelled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Keys under ModelConfig's names; where a file has two spellings, the family's own counts unless it is null."""
    found = {key: value for key, value in values.items() if key not in SPELLINGS}
    for key, value in values.items():
        if key in SPELLINGS and (value is not None or SPELLINGS[key] not in found):
            found[SPELLINGS[key]] = value
    return found


def _text_part(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The configuration of the language model in one that also describes other parts (images, sound)."""
    inner = values.get("text_config")
    if inner is None:
        return dict(values)
    if not isinstance(inner, Mapping):
        raise ModelError(f"{source}: text_config is {inner!r}; expected an object")
    outer = {key: values[key] for key in ("quantization_config", "tie_word_embeddings") if key in values}
    return {**outer, **inner}


def _prove_types(given: Mapping[str, Any], source: str) -> None:
    """Whatever other values are worked out from is what it must be, and no larger than a model can be."""

    def check(key: str, valid: bool, expected: str) -> None:
        if not valid:
            raise ModelError(f"{source}: {key} is {given[key]!r}; expected {expected}")

    for key, (low, high) in INTEGERS.items():
        value = given.get(key, low)
        check(key, type(value) is int and low <= value <= high, f"an integer from {low} to {high}")
    for key in POSITIVE:
        value = given.get(key, 1)
        check(key, type(value) in (int, float) and 0 < value < math.inf, "a positive number")
    for key in LISTS:
        check(key, isinstance(given.get(key, []), (list, tuple)), "a list")
    for key in OBJECTS:
        check(key, isinstance(given.get(key, {}), Mapping), "an object")
    check("hidden_act", isinstance(given.get("hidden_act", ""), str), "the name of an activation")


def _refuse_unsupported(given: Mapping[str, Any], source: str) -> None:
    for key, allowed in ONLY.items():
        if key in given and given[key] not in allowed:
            found = given[key].get("quant_method", given[key]) if isinstance(given[key], Mapping) else given[key]
            raise ModelError(
                f"{source}: {key} is {found!r}, which is not implemented; expected "
                f"{' or '.join(map(repr, allowed)).replace('None', 'no such key')}"
            )


def _sizes(given: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Heads and their size, where they follow from others; what is missing is found later."""
    hidden, heads = given.get("hidden_size", 0), given.get("num_attention_heads", 1)
    if "head_dim" not in given and hidden % heads:
        raise ModelError(f"{source}: hidden_size {hidden} is not a multiple of {heads} attention heads")
    return {
        "head_dim": given.get("head_dim", hidden // heads),
        "num_key_value_heads": given.get("num_key_value_heads", heads),
    }


def _activation(name: Any, source: str) -> str:
    if name not in ACTIVATIONS:
        raise ModelError(f"{source}: unknown activation {name!r}; known: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]
