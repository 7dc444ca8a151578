"""LLM: the library's front door."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import Any, get_args, overload

import numpy as np
from numpy.typing import NDArray

from realizar.backend import BackendOptions, Bucket
from realizar.engine.block_manager import BlockManager
from realizar.engine.draft_model import DraftModel
from realizar.engine.embedding import Embedding, fitted
from realizar.engine.engine import Engine
from realizar.engine.generation import Emit, Generation
from realizar.engine.loader import LoadedModel, load_model, open_named
from realizar.engine.model_info import ModelInfo
from realizar.engine.pooling import PoolingType
from realizar.engine.prompt import ChatOptions, Message, Prompt, PromptEncoder, Tools
from realizar.engine.request_trace import TraceLevel
from realizar.engine.result import Completion, Piece
from realizar.engine.runner import ModelRunner
from realizar.engine.scheduler import Scheduler
from realizar.engine.scoring import Scoring
from realizar.engine.sequence import Sequence as EngineSequence
from realizar.engine.service import Service
from realizar.engine.sessions import Sessions
from realizar.engine.sizes import LIMIT, cache_spec, context_of, largest_step
from realizar.engine.speculation import PromptLookup, Proposer
from realizar.engine.stats import EngineStats, SequenceState
from realizar.engine.stream import PieceStream
from realizar.errors import ContextOverflow, ModelError, RequestError, UnsupportedTask
from realizar.model import ModelConfig
from realizar.progress import Progress, silent
from realizar.sampling import SamplingParams
from realizar.selection import build_tokenizer
from realizar.tokenizers import Tokenizer
from realizar.trace import Tracer

BESIDE_DECODE = 64
"""Tokens of prefill that share a step with decodes, which wait for all of them; kernels gain nothing from more."""

PROMPT_LOOKUP = "prompt-lookup"
"""The name of the draft that is no model."""


class LLM:
    """A model ready to answer, many requests at a time.

    model: a path, or a name such as "smollm2" (downloaded at first use, unless allow_download is False; a path never
    is). backend: a backend's name; the best one by default. threads: CPU threads. max_model_len: context length in
    tokens. kv_type: type of the KV cache. prefix_cache: whether a prompt reuses what other requests computed of it.
    draft: what guesses tokens, which changes speed and nothing else: "prompt-lookup", or a smaller model of the same
    vocabulary, a path or a name. num_drafts: how many guesses one step computes, shared by all requests that decode.
    max_waiting: how many sequences may wait for their first step, beyond which QueueFull is raised; None: any number.
    deterministic: refuse a backend with which what is computed beside a request changes bits of it.
    Close it, or use it in a `with` statement. Methods may be called from any thread.
    """

    def __init__(
        self, model: str | Path, *, backend: str | None = None, threads: int | None = None,
        max_model_len: int | None = None, kv_type: str | None = None, model_format: str | None = None,
        allow_download: bool = True, progress: Progress = silent, tracer: Tracer | None = None,
        prefix_cache: bool = True, max_waiting: int | None = None, draft: str | Path | None = None, num_drafts: int = 8,
        deterministic: bool = False,
    ) -> None:  # fmt: skip
        options = BackendOptions(threads=threads, kv_type=kv_type, deterministic=deterministic)
        opening: dict[str, Any] = {
            "backend": backend, "model_format": model_format, "allow_download": allow_download, "progress": progress,
            "context": functools.partial(context_of, wanted=max_model_len),
        }  # fmt: skip
        loaded = load_model(model, options, tracer=tracer, **opening)
        if loaded.file.tokenizer is None:
            raise ModelError(f"{loaded.file.path}: {loaded.file.no_tokenizer or 'the file has no tokenizer'}")
        self.config: ModelConfig = loaded.config
        self.info = ModelInfo.of(loaded.file)
        self.load_s = loaded.load_s
        self.backend_name = loaded.backend.name
        self.tokenizer: Tokenizer = build_tokenizer(loaded.file.tokenizer)
        self.max_model_len = context_of(loaded.config, max_model_len)
        self._prompts = PromptEncoder(self.tokenizer, loaded.config.vocab_size)
        spec = cache_spec(loaded.graph.attention_layers, self.max_model_len, loaded.kv_type)
        self._is_causal, self._gives_logits = loaded.graph.is_causal, loaded.graph.output == "logits"
        limit = largest_step(loaded.graph, self.max_model_len)
        runner = ModelRunner(loaded.backend, loaded.graph, loaded.weights, spec, limit, self.max_model_len)
        opened, proposer = [loaded], None
        if draft is not None and draft != PROMPT_LOOKUP:
            opening["context"] = lambda config: min(self.max_model_len, config.max_position_embeddings)
            opened.append(load_model(draft, options, **opening))
            proposer = _draft_model(opened[1], loaded, limit, self.max_model_len)
        scheduler = Scheduler(
            limit, BlockManager(spec.num_blocks, spec.block_size), beside_decode=BESIDE_DECODE,
            prefix_cache=prefix_cache, proposer=PromptLookup() if draft == PROMPT_LOOKUP else proposer,
            num_drafts=num_drafts,
        )  # fmt: skip
        self._engine = Engine(runner, scheduler, tracer, _releasing(opened), max_waiting)
        self._sessions = Sessions(self._engine, scheduler, runner, loaded)
        self._finalizer = weakref.finalize(self, self._engine.close)

    def __enter__(self) -> LLM:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the engine and release the model; open requests get an error."""
        self._finalizer()

    @property
    def alive(self) -> bool:
        """Whether it takes requests: neither closed nor failed."""
        return self._engine.alive

    @property
    def stats(self) -> EngineStats:
        """What the engine is doing, in numbers."""
        return self._engine.stats

    @property
    def sequences(self) -> list[SequenceState]:
        """Every sequence that is open now."""
        return self._engine.sequences

    @property
    def max_waiting(self) -> int | None:
        """How many sequences may wait for their first step; may be set while it runs."""
        return self._engine.max_waiting

    @max_waiting.setter
    def max_waiting(self, most: int | None) -> None:
        self._engine.max_waiting = most

    @property
    def prefix_cache(self) -> bool:
        """Whether a prompt reuses what others computed of it; set to False, what is kept for that is forgotten."""
        return self._engine.prefix_cache

    @prefix_cache.setter
    def prefix_cache(self, on: bool) -> None:
        self._engine.switch_prefix_cache(on)

    @property
    def failed(self) -> bool:
        """Whether the engine's thread has failed, and `restart` is to be called."""
        return self._engine.failed

    def restart(self) -> None:
        """Take requests again after the engine's thread has failed (EngineFailed), with an empty cache."""
        self._engine.restart()

    @overload
    def generate(
        self, prompts: str | Sequence[int], params: SamplingParams | None = None, *, priority: int = 0,
        deadline_s: float | None = None,
    ) -> Completion: ...  # fmt: skip
    @overload
    def generate(
        self, prompts: list[str] | list[list[int]], params: SamplingParams | None = None, *, priority: int = 0,
        deadline_s: float | None = None,
    ) -> list[Completion]: ...  # fmt: skip

    def generate(
        self, prompts: str | Sequence[int] | list[str] | list[list[int]], params: SamplingParams | None = None, *,
        priority: int = 0, deadline_s: float | None = None,
    ) -> Completion | list[Completion]:  # fmt: skip
        """Continue a prompt as it stands (a text or token ids), or each of a list of prompts, batched together.

        priority, deadline_s: as for `stream`.
        """
        _prove_one(params)
        if isinstance(prompts, str) or all(isinstance(item, Integral) for item in prompts):
            return self.stream(prompts, params, priority=priority, deadline_s=deadline_s).completion()  # type: ignore[arg-type]
        with contextlib.ExitStack() as opened:
            streams = []
            for prompt in prompts:
                stream = self.stream(prompt, params, priority=priority, deadline_s=deadline_s)  # type: ignore[arg-type]
                streams.append(opened.enter_context(contextlib.closing(stream)))
            return [stream.completion() for stream in streams]

    def choices(
        self, prompt: Prompt, params: SamplingParams | None = None, *, tools: Tools = None,
        chat_template: str | None = None, priority: int = 0, deadline_s: float | None = None, **variables: Any,
    ) -> list[Completion]:  # fmt: skip
        """`params.n` answers to one prompt (a text, token ids or messages), which is computed once."""
        stream = self.stream(
            prompt, params, tools=tools, chat_template=chat_template, priority=priority, deadline_s=deadline_s,
            **variables,
        )  # fmt: skip
        return stream.completions()

    def chat(
        self, messages: Sequence[Message], params: SamplingParams | None = None, *, tools: Tools = None,
        chat_template: str | None = None, priority: int = 0, deadline_s: float | None = None, **variables: Any,
    ) -> Completion:  # fmt: skip
        """Answer a conversation, rendered with the model's own chat template.

        tools: descriptions of functions that the template tells the model of; if the file has a template for tools
        ("tool_use"), that is taken. chat_template: the name of another template of the file. variables: what else the
        template reads (enable_thinking=False). priority, deadline_s: as for `stream`.
        """
        _prove_one(params)
        stream = self.stream(
            messages, params, tools=tools, chat_template=chat_template, priority=priority, deadline_s=deadline_s,
            **variables,
        )  # fmt: skip
        return stream.completion()

    def stream(
        self, prompt: Prompt, params: SamplingParams | None = None, *, tools: Tools = None,
        chat_template: str | None = None, priority: int = 0, deadline_s: float | None = None,
        trace: TraceLevel | None = None, **variables: Any,
    ) -> PieceStream:  # fmt: skip
        """The pieces of an answer as they are computed; the last one of each of `params.n` choices has its completion.

        The request is submitted at once; closing the stream cancels it. tools and so on: as for `chat`.
        priority: higher ones go first; one step counts like 10 s of waiting. deadline_s: seconds from now, after which
        DeadlineExceeded is raised instead of further pieces. trace: "step", "layer" or "brick" (an op): the completion
        says what was measured of its steps.
        """
        stream = PieceStream((params or SamplingParams()).n)
        chat, service = ChatOptions(tools, chat_template, variables), Service(priority, deadline_s, trace)
        sequences = self._sequences(prompt, params, stream.emit, chat, service)
        self._engine.submit(*sequences)
        stream.cancel = lambda: self._engine.cancel(*sequences)
        return stream

    async def agenerate(
        self, prompt: str | Sequence[int], params: SamplingParams | None = None, *, priority: int = 0,
        deadline_s: float | None = None,
    ) -> Completion:  # fmt: skip
        """`generate` of one prompt, without blocking the event loop."""
        _prove_one(params)
        return (await _acompletions(self.astream(prompt, params, priority=priority, deadline_s=deadline_s)))[0]

    async def achat(
        self, messages: Sequence[Message], params: SamplingParams | None = None, *, tools: Tools = None,
        chat_template: str | None = None, priority: int = 0, deadline_s: float | None = None, **variables: Any,
    ) -> Completion:  # fmt: skip
        """`chat`, without blocking the event loop."""
        _prove_one(params)
        pieces = self.astream(
            messages, params, tools=tools, chat_template=chat_template, priority=priority, deadline_s=deadline_s,
            **variables,
        )  # fmt: skip
        return (await _acompletions(pieces))[0]

    async def achoices(
        self, prompt: Prompt, params: SamplingParams | None = None, *, tools: Tools = None,
        chat_template: str | None = None, priority: int = 0, deadline_s: float | None = None, **variables: Any,
    ) -> list[Completion]:  # fmt: skip
        """`choices`, without blocking the event loop."""
        pieces = self.astream(
            prompt, params, tools=tools, chat_template=chat_template, priority=priority, deadline_s=deadline_s,
            **variables,
        )  # fmt: skip
        return await _acompletions(pieces)

    async def astream(
        self, prompt: Prompt, params: SamplingParams | None = None, *, tools: Tools = None,
        chat_template: str | None = None, priority: int = 0, deadline_s: float | None = None,
        trace: TraceLevel | None = None, **variables: Any,
    ) -> AsyncGenerator[Piece, None]:  # fmt: skip
        """`stream`, without blocking the event loop; closing the iterator cancels the request."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[Piece | BaseException] = asyncio.Queue()

        def emit(item: Piece | BaseException) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, item)

        chat, service = ChatOptions(tools, chat_template, variables), Service(priority, deadline_s, trace)
        sequences = await asyncio.to_thread(self._sequences, prompt, params, emit, chat, service)
        self._engine.submit(*sequences)  # not in that thread: a task cancelled meanwhile must leave no request behind
        left = len(sequences)
        try:
            while left:
                piece = _raise_or(await pieces.get())
                left -= piece.completion is not None
                yield piece
        finally:
            self._engine.cancel(*sequences)

    def logits(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Logits float32 [T, vocab] for every position of `token_ids`, each given those before it."""
        self._prove_logits()
        if not 0 < len(token_ids) <= self.max_model_len:
            raise RequestError(f"token_ids has {len(token_ids)} tokens; expected 1 to {self.max_model_len}")
        ids = self._prompts.encode(list(token_ids))
        scoring = Scoring(ids, self.config.vocab_size)
        self._engine.submit(scoring.sequence)
        return scoring.wait()

    def embed(
        self, texts: Sequence[str], *, pooling: PoolingType | None = None, truncate: bool = False
    ) -> NDArray[np.float32]:
        """Embeddings of `texts`, float32 [len(texts), hidden_size], batched together.

        Hidden states are pooled and normalized as the model says; pooling: "mean", "cls" or "last" instead, for an
        encoder whose files do not say. truncate: leave out tokens beyond max_model_len instead of refusing the text.
        """
        kind = self._pooling(pooling)
        if isinstance(texts, str):
            raise RequestError("texts is one text; expected a list of texts")
        embeddings = [self._embedding(text, i, kind, truncate) for i, text in enumerate(texts)]
        try:
            for embedding in embeddings:
                self._engine.submit(embedding.sequence)
            vectors = [embedding.wait() for embedding in embeddings]
        finally:
            for embedding in embeddings:
                self._engine.cancel(embedding.sequence)
        return np.stack(vectors) if vectors else np.empty((0, self.config.hidden_size), np.float32)

    def save_session(self, path: str | Path, prompt: Prompt, **chat: Any) -> int:
        """Save the keys and values that the prefix cache has of a prompt; returns of how many of its tokens.

        prompt: a text, messages (`chat` as for `LLM.chat`), or ids, such as those of a completion and its prompt. The
        file holds what the prompt said. Raises UnsupportedOp if the backend cannot.
        """
        ids = self._prompts.encode(prompt, ChatOptions(chat.pop("tools", None), chat.pop("chat_template", None), chat))
        return self._sessions.save(Path(path), ids)

    def restore_session(self, path: str | Path) -> int:
        """Give the prefix cache back what `save_session` wrote; returns how many tokens it now has of that prompt.

        Raises FormatError for a file of another model, KV type, backend or version, and for a damaged one.
        """
        return self._sessions.restore(Path(path))

    def submit(self, *sequences: EngineSequence) -> None:
        """Queue sequences of the engine's own kind, for those who must see every step (benchmarks)."""
        self._prove_logits()
        self._engine.submit(*sequences)

    def encode(self, prompt: Prompt, *, tools: Tools = None, **variables: Any) -> list[int]:
        """The ids that a prompt becomes: a text, ids, or messages with the model's chat template."""
        return self._prompts.encode(prompt, ChatOptions(tools, None, variables))

    def warm_up(self) -> None:
        """Run a prefill and a decode step, so that whatever is compiled on first use is."""
        if not self._gives_logits:
            self.embed(["a"], pooling=self.config.pooling_type or "mean", truncate=True)
            return
        params = SamplingParams(temperature=0.0, max_tokens=2, ignore_eos=True)
        self.generate([0] * max(1, min(16, self.max_model_len - 2)), params)

    def _sequences(
        self, prompt: Prompt, params: SamplingParams | None, emit: Emit, chat: ChatOptions, service: Service
    ) -> list[EngineSequence]:
        """A request, checked and encoded, that is not submitted yet; one sequence for each choice."""
        self._prove_logits()
        params = params or SamplingParams()
        ids = self._prompts.encode(prompt, chat)
        if not ids:
            raise RequestError("the prompt is empty: there is no token to continue from")
        if len(ids) >= self.max_model_len:
            raise ContextOverflow(len(ids), self.max_model_len)
        room = self.max_model_len - len(ids)
        total = len(ids) + min(room, params.max_tokens if params.max_tokens is not None else room)
        sequences = [
            Generation(ids, params, self.tokenizer, total, self.load_s, emit, service=service, index=i).sequence
            for i in range(params.n)
        ]
        for sequence in sequences:
            sequence.request_id = sequences[0].request_id
        return sequences

    @property
    def max_running(self) -> int:
        """How many sequences are computed together at most."""
        return LIMIT.max_seqs

    @property
    def can_generate(self) -> bool:
        """Whether the model gives text; otherwise it gives embeddings."""
        return self._gives_logits

    def _prove_logits(self) -> None:
        if not self._gives_logits:
            raise UnsupportedTask(
                f"this {self.config.model_type} model gives embeddings, it cannot generate; "
                f"use LLM.embed, or the command: realizar embed"
            )

    def _pooling(self, asked: PoolingType | None) -> PoolingType:
        if self._gives_logits:
            raise UnsupportedTask(
                f"this {self.config.model_type} model generates text, and its files do not say how it could embed one; "
                f"use a model made for that: a directory with modules.json, or a GGUF file with a pooling_type"
            )
        kind = asked or self.config.pooling_type
        if kind is None:
            raise UnsupportedTask(
                "the model's files do not say how the hidden states of a text become one vector; "
                "pass pooling= (--pooling) mean, cls or last"
            )
        if kind not in get_args(PoolingType):
            raise RequestError(f"pooling is {kind!r}; expected {', '.join(get_args(PoolingType))}")
        return kind

    def _embedding(self, text: str, index: int, kind: PoolingType, truncate: bool) -> Embedding:
        """A text, checked and encoded, that is not submitted yet; what it spells is somebody else's, never control."""
        spec = self.tokenizer.spec
        end_ids = list(spec.eos_token_ids[:1]) if spec.add_eos_token else []
        ids = self.tokenizer.encode(text)
        ids = fitted(ids, self.max_model_len, end_ids, truncate=truncate, which=f"texts[{index}]")
        return Embedding(ids, kind, normalize=self.config.normalize_embeddings, in_one_step=not self._is_causal)


def load_tokenizer(model: str | Path, *, progress: Progress = silent) -> Tokenizer:
    """The tokenizer of a model file (a vocabulary-only file will do), or of a model by name that was pulled."""
    file = open_named(model, progress=progress)
    if file.tokenizer is None:
        raise ModelError(f"{file.path}: {file.no_tokenizer or 'the file has no tokenizer'}")
    return build_tokenizer(file.tokenizer)


def _raise_or(item: Piece | BaseException) -> Piece:
    if isinstance(item, BaseException):
        raise item
    return item


async def _acompletions(pieces: AsyncIterator[Piece]) -> list[Completion]:
    done = [piece.completion async for piece in pieces if piece.completion is not None]
    return sorted(done, key=lambda completion: completion.index)


def _prove_one(params: SamplingParams | None) -> None:
    if params is not None and params.n != 1:
        raise RequestError(f"n: found {params.n}, expected 1 where one completion is returned; use choices or achoices")


def _draft_model(draft: LoadedModel, loaded: LoadedModel, limit: Bucket, max_model_len: int) -> Proposer:
    """The draft on a cache of its own; raises ModelError unless both models mean the same by every token."""
    if draft.file.tokenizer is None or loaded.file.tokenizer is None or draft.graph.output != "logits":
        raise ModelError(f"{draft.file.path}: cannot be a draft: it must generate text and have a tokenizer")
    same_ids = draft.config.vocab_size == loaded.config.vocab_size
    if not same_ids or draft.file.tokenizer.tokens != loaded.file.tokenizer.tokens:
        raise ModelError(
            f"{draft.file.path}: cannot be a draft for {loaded.file.path.name}: their vocabularies differ; "
            f"use a smaller model of the same family"
        )
    length = min(max_model_len, draft.config.max_position_embeddings)
    spec = cache_spec(draft.graph.attention_layers, length, draft.kv_type)
    runner = ModelRunner(draft.backend, draft.graph, draft.weights, spec, limit, length)
    return DraftModel(runner, limit, BlockManager(spec.num_blocks, spec.block_size), length)


def _releasing(opened: list[LoadedModel]) -> Callable[[], None]:
    """What the engine calls once it has stopped; it knows nothing of the LLM, which could never be dropped else."""
    parts = [(loaded.backend, loaded.file) for loaded in opened]

    def release() -> None:
        for backend, file in parts:
            backend.close()
            file.close()

    return release
