"""Rotary positions in config.json.

Old style: rope_theta, rope_scaling, rope_local_base_freq and a partial factor, side by side. New style, of transformers
5: one object rope_parameters, or one for each kind of layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from realizar.errors import ModelError
from realizar.model import FULL, SLIDING

_SCALING = {
    "factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor", "attention_factor",
    "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate", "short_factor", "long_factor",
}  # fmt: skip
_PLAIN = ("default", None)


def read_rope(given: Mapping[str, Any], head_dim: int, source: str) -> dict[str, Any]:
    """rope_theta, rope_scaling, rope_local_base_freq and rotary_dim; raises ModelError for what cannot be expressed."""
    parameters = given.get("rope_parameters", {})
    local, whole = parameters.get(SLIDING), parameters.get(FULL, parameters if SLIDING not in parameters else {})
    for kind in (local, whole):
        if not (kind is None or isinstance(kind, Mapping)):
            raise ModelError(f"{source}: rope_parameters is {parameters!r}; expected objects for each kind of layer")
    original = given.get("original_max_position_embeddings")
    values = _one_kind({**_old_style(given), **(whole or {})}, head_dim, original, source)
    if local is not None:
        sliding = _one_kind(local, head_dim, None, source)
        if sliding.get("rope_scaling") is not None or sliding.get("rotary_dim") != values.get("rotary_dim"):
            raise ModelError(f"{source}: rope_parameters.{SLIDING} is {dict(local)}; expected a rope_theta alone")
        values["rope_local_base_freq"] = sliding.get("rope_theta", values.get("rope_theta"))
    return {key: value for key, value in values.items() if key == "rope_scaling" or value is not None}


def _old_style(given: Mapping[str, Any]) -> dict[str, Any]:
    scaling = dict(given.get("rope_scaling", {}))
    if "type" in scaling:
        scaling.setdefault("rope_type", scaling.pop("type"))
    return {**{key: given.get(key) for key in ("rope_theta", "partial_rotary_factor")}, **scaling}


def _one_kind(parameters: Mapping[str, Any], head_dim: int, original: int | None, source: str) -> dict[str, Any]:
    """rope_theta, rotary_dim and rope_scaling of one kind of layer."""
    values: dict[str, Any] = {"rope_theta": parameters.get("rope_theta"), "rope_scaling": None}
    partial = parameters.get("partial_rotary_factor")
    if partial is not None and partial != 1:
        if not (type(partial) is float and 0 < partial < 1):
            raise ModelError(f"{source}: partial_rotary_factor is {partial!r}; expected a number from 0 to 1")
        values["rotary_dim"] = int(head_dim * partial)
    kind = parameters.get("rope_type")
    if kind in _PLAIN:
        return values
    scaling = {key: parameters[key] for key in _SCALING if parameters.get(key) is not None}
    strange = set(parameters) - _SCALING - {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
    if strange:
        raise ModelError(f"{source}: rotary scaling {kind!r} has keys nobody here understands: {sorted(strange)}")
    if original is not None:
        scaling.setdefault("original_max_position_embeddings", original)
    values["rope_scaling"] = {"rope_type": "longrope" if kind == "su" else kind, **scaling}
    return values
