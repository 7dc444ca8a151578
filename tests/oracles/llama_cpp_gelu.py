"""llama.cpp's GELU: the approximation by tanh, whatever the model wants, from a table of float16."""

from __future__ import annotations

import torch
from transformers import activations


def gelu_by_table(x: torch.Tensor) -> torch.Tensor:
    """GELU as ggml's `ggml_vec_gelu_f32` looks it up: of x rounded to float16, itself rounded; 0 and x beyond 10."""
    rounded = x.half().float()
    looked_up = torch.nn.functional.gelu(rounded, approximate="tanh").half().float()
    return torch.where(x <= -10, 0.0, torch.where(x >= 10, x, looked_up))


def with_gelu_by_table(model: torch.nn.Module) -> int:
    """Replace every GELU of the model; returns how many there were."""
    kinds = (activations.NewGELUActivation, activations.GELUTanh, activations.GELUActivation)
    found = [module for module in model.modules() if isinstance(module, kinds)]
    for module in found:
        module.forward = gelu_by_table
    return len(found)
