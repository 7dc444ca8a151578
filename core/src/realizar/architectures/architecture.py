"""The contract of a model family, and the builder that families write their blocks with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from realizar.errors import ModelError
from realizar.graph import Block, Graph, Node, WeightSpec
from realizar.model import ModelConfig
from realizar.tensors import LazyTensor


class Architecture(ABC):
    """A model family. model_types: the values of `ModelConfig.model_type` it builds."""

    name: ClassVar[str]
    priority: ClassVar[int] = 0
    model_types: ClassVar[tuple[str, ...]]

    @abstractmethod
    def build(self, config: ModelConfig, tensors: Mapping[str, LazyTensor]) -> Graph:
        """The graph; raises ModelError naming a missing or misshapen tensor. Reads no large tensor."""


class BlockBuilder:
    """Collects the nodes and weights of one block.

    prefix: where the block's tensors live ("model.layers.0."); weights get local names relative to it.
    """

    def __init__(self, name: str, prefix: str, tensors: Mapping[str, LazyTensor], layer_id: int | None = None) -> None:
        self.name, self.prefix, self.tensors, self.layer_id = name, prefix, tensors, layer_id
        self.nodes: list[Node] = []
        self.weights: dict[str, WeightSpec] = {}

    def weight(self, name: str, *shape: int) -> str:
        """The local name of tensor prefix + name, whose shape must be `shape`."""
        full = self.prefix + name
        if full not in self.tensors:
            raise ModelError(f"{self.name}: tensor {full!r} is missing; the file has {len(self.tensors)} tensors")
        tensor = self.tensors[full]
        if tensor.shape != shape:
            raise ModelError(f"{tensor.source}: shape {tensor.shape}, but the configuration says {shape}")
        self.weights[name] = WeightSpec(full, tensor.shape, tensor.dtype.name)
        return name

    def add(self, op: str, inputs: tuple[str, ...], output: str, **attributes: Any) -> str:
        """Append a node; returns `output`."""
        self.nodes.append(Node(op, inputs, output, attributes))
        return output

    def linear(self, x: str, name: str, size: tuple[int, int], output: str) -> str:
        """output = x through prefix + name + ".weight" of size (out, in), with its bias if the file has one."""
        inputs: tuple[str, ...] = (x, self.weight(f"{name}.weight", *size))
        if f"{self.prefix}{name}.bias" in self.tensors:
            inputs += (self.weight(f"{name}.bias", size[0]),)
        return self.add("linear", inputs, output)

    def build(self) -> Block:
        """The finished block."""
        return Block(self.name, tuple(self.nodes), self.weights, self.layer_id)
