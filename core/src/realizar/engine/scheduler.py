"""First come, first served, with chunked prefill beside running decodes."""

from __future__ import annotations

from collections import deque

from realizar.backend import Bucket
from realizar.engine.block_manager import BlockManager
from realizar.engine.sequence import Chunk, Sequence


class Scheduler:
    """Decides what each step computes, within the limits of the largest bucket.

    A sequence is admitted once the cache can hold everything it may grow to, so a running one never has to wait.
    """

    def __init__(self, limit: Bucket, blocks: BlockManager) -> None:
        self.limit = limit
        self.blocks = blocks
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []

    @property
    def has_work(self) -> bool:
        """Whether any sequence is waiting or running."""
        return bool(self.waiting or self.running)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence."""
        self.waiting.append(sequence)

    def finish(self, sequence: Sequence) -> None:
        """Forget a sequence and free its blocks."""
        if sequence in self.running:
            self.running.remove(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)
        self.blocks.release(sequence.block_table)

    def schedule(self) -> list[Chunk]:
        """The chunks of the next step: one token of each decoding sequence first, then prefill in order of arrival."""
        chunks: list[Chunk] = []
        tokens, rows = self.limit.max_tokens, self.limit.max_rows
        for sequence in sorted(self.running, key=lambda s: s.num_pending > 1):
            tokens, rows = self._take(sequence, chunks, tokens, rows)
        while self.waiting and tokens and rows and len(chunks) < self.limit.max_seqs and self._admit(self.waiting[0]):
            sequence = self.waiting.popleft()
            self.running.append(sequence)
            tokens, rows = self._take(sequence, chunks, tokens, rows)
        return chunks

    def _admit(self, sequence: Sequence) -> bool:
        if len(self.running) >= self.limit.max_seqs:
            return False
        blocks = self.blocks.allocate(sequence.max_total_tokens)
        if blocks is None:
            return False
        sequence.block_table = blocks
        return True

    def _take(self, sequence: Sequence, chunks: list[Chunk], tokens: int, rows: int) -> tuple[int, int]:
        """Append the largest chunk that fits, if any; returns what is left of the two budgets."""
        count = min(sequence.num_pending, tokens)
        if sequence.every_position:
            count = min(count, rows)
        if count == 0 or rows == 0 or (sequence.in_one_step and count < sequence.num_pending):
            return tokens, rows
        chunk = Chunk.next(sequence, count)
        chunks.append(chunk)
        return tokens - count, rows - chunk.num_rows
