"""Who is computed next: urgency, budgets, room in the cache; with chunked prefill beside running decodes."""

from __future__ import annotations

import bisect
import logging
from collections.abc import Callable

import attrs

from realizar.backend import Bucket
from realizar.engine.block_manager import BlockManager
from realizar.engine.prefix_cache import PrefixReport, block_key
from realizar.engine.sequence import Chunk, Sequence
from realizar.engine.speculation import Proposer

log = logging.getLogger(__name__)


@attrs.define
class Counters:
    """What a scheduler has done so far.

    prefix_queries, prefix_hits: tokens of admitted prompts, and those of them that the prefix cache had.
    drafted_tokens: guesses that were computed.
    """

    preemptions: int = 0
    prefix_queries: int = 0
    prefix_hits: int = 0
    drafted_tokens: int = 0


class Scheduler:
    """Decides what each step computes, within the limits of the largest bucket.

    Sequences are served by `Sequence.rank`: first come, first served, with priorities that count like time waited.
    One is admitted when the cache has room for what is known of it, and gets blocks as it grows. Where none is free,
    the running sequence of the highest rank is preempted: it gives up its blocks, waits in its place, and is computed
    again, less what the prefix cache still has. The first in rank always finds room, so there is no deadlock; ranks
    never change, so everybody is the first some day.

    beside_decode: how many tokens of prefill share a step with decodes, so that a long prompt does not hold them up.
    prefix_cache: whether requests find blocks of others; off, they still find those of their own request.
    proposer: guesses tokens, of which a step computes up to num_drafts, shared evenly by all that decode.
    """

    def __init__(
        self, limit: Bucket, blocks: BlockManager, *, beside_decode: int | None = None, prefix_cache: bool = True,
        proposer: Proposer | None = None, num_drafts: int = 0,
    ) -> None:  # fmt: skip
        self.limit = limit
        self.blocks = blocks
        self.beside_decode = limit.max_tokens if beside_decode is None else beside_decode
        self.prefix_cache = prefix_cache
        self.proposer, self.num_drafts = proposer, num_drafts
        self.counters = Counters()
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        """Both by rank."""

    @property
    def has_work(self) -> bool:
        """Whether any sequence is waiting or running."""
        return bool(self.waiting or self.running)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence."""
        _insert(self.waiting, sequence)

    def finish(self, sequence: Sequence, *, forget: bool = False) -> None:
        """Drop a sequence and free its blocks; forget: nobody may find in them what it computed."""
        if sequence in self.running:
            self.running.remove(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)
        self.blocks.release(sequence.block_table, forget=forget)

    def reset(self) -> None:
        """Drop all sequences, and all that the cache holds."""
        self.waiting.clear()
        self.running.clear()
        self.blocks = BlockManager(self.blocks.num_blocks, self.blocks.block_size)

    def cached_blocks(self, token_ids: list[int]) -> list[int]:
        """The blocks of the longest run of full blocks of a text that can be reused, whoever holds them."""
        return self.blocks.prefixes.find(self._keys_of(token_ids))

    def adopt(self, token_ids: list[int], write: Callable[[list[int], int], None]) -> int:
        """Take over a text of full blocks that others have computed; how many tokens of it can be reused afterwards.

        write: called with new blocks and the index of the first of them in the text, to fill them. Only free blocks
        are taken, and never those that the cache has of the same text.
        """
        keys, size, table = self._keys_of(token_ids), self.blocks.block_size, self.cached_blocks(token_ids)
        self.blocks.hold(table)
        first = len(table)
        count = min(len(keys), first + self.blocks.num_free)
        self.blocks.grow(table, count * size)
        if count > first:
            write(table[first:], first)
        for i in range(first, count):
            parent = keys[i - 1] if i else b""
            self.blocks.publish(table[i], keys[i], parent, token_ids[i * size : (i + 1) * size])
        self.blocks.release(table)
        return count * size

    def schedule(self) -> list[Chunk]:
        """The chunks of the next step: one token of each decoding sequence first, then prefill, each by rank."""
        if self.waiting:
            self._make_way(self.waiting[0])
        self._grow_all()
        step = _StepPlan(self.limit)
        decodes: list[Sequence] = []
        prefills: list[Sequence] = []
        for sequence in self.running:
            (prefills if sequence.num_pending > 1 or sequence.every_position else decodes).append(sequence)
        self._draft(decodes)
        for sequence in decodes:
            step.take(sequence, len(sequence.drafts))
        if step.chunks:
            step.tokens = min(step.tokens, self.beside_decode)
        for sequence in prefills:
            step.take(sequence)
        self._admit_all(step)
        return step.chunks

    def computed(self, chunks: list[Chunk]) -> None:
        """After a step: let others find the blocks that are full now."""
        for chunk in chunks:
            sequence = chunk.sequence
            full = sequence.num_computed // self.blocks.block_size
            if full > sequence.num_published and not sequence.in_one_step:
                self._publish(sequence, full)

    def _admit_all(self, step: _StepPlan) -> None:
        """Admit who waits, by rank; nobody overtakes one that does not fit, only one that awaits another's blocks."""
        for sequence in list(self.waiting):
            if not step.has_room or len(self.running) >= self.limit.max_seqs:
                return
            keys = self._reusable_keys(sequence)
            found = self.blocks.prefixes.find(keys)
            if len(found) < len(keys) and self._is_being_computed(keys[len(found)], len(found)):
                continue
            if not self._admit(sequence, found, keys):
                return
            step.take(sequence)

    def _admit(self, sequence: Sequence, found: list[int], keys: list[bytes]) -> bool:
        """Start a sequence with the blocks that were found and new ones for the rest, if there are enough."""
        if not self._has_room(sequence, found):
            return False
        if sequence.prefix is None:
            self._report(sequence, found, keys)
        self.blocks.hold(found)
        sequence.block_table = found
        sequence.num_published = len(found)
        sequence.num_computed = len(found) * self.blocks.block_size
        self.blocks.grow(sequence.block_table, len(sequence.token_ids))
        self.waiting.remove(sequence)
        _insert(self.running, sequence)
        return True

    def _make_way(self, urgent: Sequence) -> None:
        """Preempt running sequences of lower priority while they take the room of a waiting one."""
        while self.running and self._outranks(urgent, self.running[-1]) and not self._fits(urgent):
            self._preempt(self.running[-1])

    def _fits(self, sequence: Sequence) -> bool:
        found = self.blocks.prefixes.find(self._reusable_keys(sequence))
        return len(self.running) < self.limit.max_seqs and self._has_room(sequence, found)

    @staticmethod
    def _outranks(urgent: Sequence, other: Sequence) -> bool:
        return urgent.priority > other.priority and urgent.rank < other.rank

    def _has_room(self, sequence: Sequence, found: list[int]) -> bool:
        """Whether a sequence fits beside those that run, with a block for each of them to grow into."""
        missing = self.blocks.blocks_for(len(sequence.token_ids)) - len(found)
        return self.blocks.free_after_holding(found) >= missing + len(self.running)

    def _grow_all(self) -> None:
        """Room for what is known of each running sequence, by rank; the last are preempted where there is none."""
        done = 0
        while done < len(self.running):
            sequence = self.running[done]
            if self.blocks.grow(sequence.block_table, len(sequence.token_ids)):
                done += 1
            else:
                self._preempt(self.running[-1])

    def _draft(self, decodes: list[Sequence]) -> None:
        """Guesses for all that decode, as far as budgets and free blocks go; nobody is preempted for a guess."""
        for sequence in decodes:
            sequence.drafts = []
        if self.proposer is None or not decodes:
            return
        spare = min(self.limit.max_tokens, self.limit.max_rows) - len(decodes)
        share = min(self.num_drafts, spare) // len(decodes)
        if share < 1:
            return
        try:
            proposals = self.proposer.propose(decodes, share)
        except Exception:
            log.exception("guessing tokens failed; going on without")
            self.proposer = None
            return
        for sequence, drafts in zip(decodes, proposals, strict=True):
            left = sequence.max_total_tokens - len(sequence.token_ids) - 1
            drafts = drafts[: max(0, min(share, left))]
            if drafts and self.blocks.grow(sequence.block_table, len(sequence.token_ids) + len(drafts)):
                sequence.drafts = drafts
                self.counters.drafted_tokens += len(drafts)

    def _preempt(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self.blocks.release(sequence.block_table)
        sequence.num_computed = sequence.num_published = 0
        sequence.num_preemptions += 1
        self.counters.preemptions += 1
        _insert(self.waiting, sequence)

    def _is_being_computed(self, key: bytes, index: int) -> bool:
        """Whether a running prefill will publish the block with that key, the index-th of its text."""
        return any(
            s.num_published <= index < s.num_prompt_tokens // self.blocks.block_size and self._key(s, index) == key
            for s in self.running if s.num_pending > 1
        )  # fmt: skip

    def _publish(self, sequence: Sequence, full: int) -> None:
        for i in range(sequence.num_published, full):
            key, parent = self._key(sequence, i), self._parent(sequence, i)
            self.blocks.publish(sequence.block_table[i], key, parent, self._tokens(sequence, i))
        sequence.num_published = full

    def _reusable_keys(self, sequence: Sequence) -> list[bytes]:
        """Keys of the full blocks before its last token, whose logits are wanted."""
        if sequence.every_position or sequence.in_one_step:
            return []
        return [self._key(sequence, i) for i in range((len(sequence.token_ids) - 1) // self.blocks.block_size)]

    def _key(self, sequence: Sequence, index: int) -> bytes:
        """The key of its index-th block, which is full; made once."""
        keys = sequence.block_keys
        while len(keys) <= index:
            keys.append(block_key(self._parent(sequence, len(keys)), self._tokens(sequence, len(keys))))
        return keys[index]

    def _keys_of(self, token_ids: list[int]) -> list[bytes]:
        """The keys of all full blocks of a text that is no sequence."""
        keys: list[bytes] = []
        size = self.blocks.block_size
        for end in range(size, len(token_ids) + 1, size):
            keys.append(block_key(keys[-1] if keys else b"", token_ids[end - size : end]))
        return keys

    def _parent(self, sequence: Sequence, index: int) -> bytes:
        if index:
            return sequence.block_keys[index - 1]
        return b"" if self.prefix_cache else sequence.request_id.to_bytes(8, "little")

    def _tokens(self, sequence: Sequence, index: int) -> list[int]:
        size = self.blocks.block_size
        return sequence.token_ids[index * size : (index + 1) * size]

    def _report(self, sequence: Sequence, found: list[int], keys: list[bytes]) -> None:
        prompt, size = len(sequence.token_ids), self.blocks.block_size
        cached = len(found) * size
        self.counters.prefix_queries += prompt
        self.counters.prefix_hits += cached
        if sequence.every_position or sequence.in_one_step:
            sequence.prefix = PrefixReport(prompt, 0, "every_position")
        elif not self.prefix_cache:
            sequence.prefix = PrefixReport(prompt, cached, "off")
        elif len(found) == len(keys):
            sequence.prefix = PrefixReport(prompt, cached, "hit" if keys else "short")
        else:
            i = len(found)
            reason, offset = self.blocks.prefixes.explain(keys[i], self._parent(sequence, i), self._tokens(sequence, i))
            sequence.prefix = PrefixReport(prompt, cached, reason, cached + offset)


class _StepPlan:
    """The chunks of one step, and what is left of its budgets."""

    def __init__(self, limit: Bucket) -> None:
        self.chunks: list[Chunk] = []
        self.tokens, self.rows, self._seqs = limit.max_tokens, limit.max_rows, limit.max_seqs

    @property
    def has_room(self) -> bool:
        return bool(self.tokens and self.rows and len(self.chunks) < self._seqs)

    def take(self, sequence: Sequence, num_drafts: int = 0) -> None:
        """Append the largest chunk that fits, if any, and guesses after it."""
        count = min(sequence.num_pending, self.tokens)
        if sequence.every_position:
            known = max(0, sequence.num_given - sequence.num_computed)
            count = min(count, known + self.rows)
        if count == 0 or self.rows == 0 or (sequence.in_one_step and count < sequence.num_pending):
            return
        chunk = Chunk.next(sequence, count, num_drafts)
        self.chunks.append(chunk)
        self.tokens -= chunk.count
        self.rows -= chunk.num_rows


def _insert(queue: list[Sequence], sequence: Sequence) -> None:
    bisect.insort(queue, sequence, key=lambda s: s.rank)
