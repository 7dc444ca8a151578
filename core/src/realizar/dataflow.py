"""Who reads what: the questions that fusing the nodes of a block depends on, whatever the backend."""

from __future__ import annotations

from realizar.graph import Block, Graph


def live_values(graph: Graph) -> frozenset[str]:
    """Values that some block reads before it writes them, and the output: other blocks must leave these behind."""
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
        """Nodes that read what node i writes, before something else overwrites it."""
        name, found = self._nodes[i].output, []
        for j in range(i + 1, len(self._nodes)):
            if name in self._nodes[j].inputs:
                found.append(j)
            if self._nodes[j].output == name:
                break
        return found

    def outlives(self, i: int) -> bool:
        """Whether what node i writes is still there at the end of the block, and another block may read it."""
        name = self._nodes[i].output
        return name in self._live and all(node.output != name for node in self._nodes[i + 1 :])

    def only_read_by(self, i: int, readers: set[int]) -> bool:
        """Whether some of these nodes see what node i writes, and nobody else ever does."""
        found = self.readers(i)
        return bool(found) and set(found) <= readers and not self.outlives(i)
