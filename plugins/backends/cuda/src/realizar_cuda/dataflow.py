"""Who reads what: the questions that fusing the nodes of a block depends on."""

from __future__ import annotations

from realizar.graph import Block, Graph


def live_values(graph: Graph) -> frozenset[str]:
    """Values that a block reads before it writes them, and the output: other blocks must leave these behind."""
    live = {graph.output}
    for block in graph.blocks:
        written: set[str] = set()
        for node in block.nodes:
            live |= {name for name in node.inputs if name in graph.values and name not in written}
            written.add(node.output)
    return frozenset(live)


class Dataflow:
    """The reads of one block."""

    def __init__(self, block: Block, live: frozenset[str]) -> None:
        self._nodes, self._live = block.nodes, live

    def readers(self, i: int) -> list[int]:
        """Nodes that read what node i writes, before another overwrites it."""
        name, found = self._nodes[i].output, []
        for j in range(i + 1, len(self._nodes)):
            if name in self._nodes[j].inputs:
                found.append(j)
            if self._nodes[j].output == name:
                return found
        return found

    def only_read_by(self, i: int, readers: set[int]) -> bool:
        """Whether nobody but these nodes ever sees what node i writes."""
        name = self._nodes[i].output
        ends_here = name not in self._live or any(node.output == name for node in self._nodes[i + 1 :])
        return ends_here and set(self.readers(i)) <= readers
