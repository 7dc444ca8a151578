"""LLM: the library's front door."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import Any, get_args, overload

import numpy as np
from numpy.typing import NDArray

from realizar.backend import Backend, BackendOptions, Bucket, CacheSpec
from realizar.engine.block_manager import BlockManager
from realizar.engine.embedding import Embedding, fitted
from realizar.engine.engine import Engine
from realizar.engine.generation import Emit, Generation
from realizar.engine.loader import load_model, open_named
from realizar.engine.model_info import ModelInfo
from realizar.engine.pooling import PoolingType
from realizar.engine.prompt import ChatOptions, Message, Prompt, PromptEncoder, Tools
from realizar.engine.result import Completion, EngineStats, Piece
from realizar.engine.runner import ModelRunner
from realizar.engine.scheduler import Scheduler
from realizar.engine.scoring import Scoring
from realizar.engine.sequence import Sequence as EngineSequence
from realizar.engine.stream import PieceStream
from realizar.errors import ContextOverflow, ModelError, RequestError, UnsupportedTask
from realizar.graph import Graph
from realizar.model import ModelConfig, ModelFile
from realizar.progress import Progress, silent
from realizar.sampling import SamplingParams
from realizar.selection import build_tokenizer
from realizar.tokenizers import Tokenizer
from realizar.trace import Tracer

BLOCK_SIZE = 16
"""Tokens of a KV cache block."""

LIMIT = Bucket(max_tokens=512, max_seqs=64, max_rows=64)
"""The largest step: prompts are computed in chunks that fill it up beside the running decodes."""

DEFAULT_CONTEXT = 32768
"""Context length when none is asked for and the model allows more, in tokens."""

CACHE_NBYTES = 1 << 30
"""Size up to which the KV cache is made to hold more than one full context."""


class LLM:
    """A model ready to answer, many requests at a time.

    model: a path, or a name such as "smollm2" (downloaded at first use, unless allow_download is False; a path never
    is). backend: a backend's name; the best one by default. threads: CPU threads. max_model_len: context length in
    tokens. kv_type: type of the KV cache.
    Close it, or use it in a `with` statement. Methods may be called from any thread.
    """

    def __init__(
        self, model: str | Path, *, backend: str | None = None, threads: int | None = None,
        max_model_len: int | None = None, kv_type: str | None = None, model_format: str | None = None,
        allow_download: bool = True, progress: Progress = silent, tracer: Tracer | None = None,
    ) -> None:  # fmt: skip
        options = BackendOptions(threads=threads, kv_type=kv_type)
        loaded = load_model(
            model,
            options,
            backend=backend,
            model_format=model_format,
            allow_download=allow_download,
            progress=progress,
            tracer=tracer,
        )
        if loaded.file.tokenizer is None:
            raise ModelError(f"{loaded.file.path}: {loaded.file.no_tokenizer or 'the file has no tokenizer'}")
        self.config: ModelConfig = loaded.config
        self.info = ModelInfo.of(loaded.file)
        self.load_s = loaded.load_s
        self.backend_name = loaded.backend.name
        self.tokenizer: Tokenizer = build_tokenizer(loaded.file.tokenizer)
        self.max_model_len = _context(loaded.config, max_model_len)
        self._prompts = PromptEncoder(self.tokenizer, loaded.config.vocab_size)
        spec = _cache_spec(loaded.graph.attention_layers, self.max_model_len, loaded.kv_type)
        self._is_causal, self._gives_logits = loaded.graph.is_causal, loaded.graph.output == "logits"
        limit = _limit(loaded.graph, self.max_model_len)
        runner = ModelRunner(loaded.backend, loaded.graph, loaded.weights, spec, limit, self.max_model_len)
        scheduler = Scheduler(limit, BlockManager(spec.num_blocks, spec.block_size))
        self._engine = Engine(runner, scheduler, tracer, _releasing(loaded.backend, loaded.file))
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

    @overload
    def generate(self, prompts: str | Sequence[int], params: SamplingParams | None = None) -> Completion: ...
    @overload
    def generate(
        self, prompts: list[str] | list[list[int]], params: SamplingParams | None = None
    ) -> list[Completion]: ...

    def generate(
        self, prompts: str | Sequence[int] | list[str] | list[list[int]], params: SamplingParams | None = None
    ) -> Completion | list[Completion]:
        """Continue a prompt as it stands (a text or token ids), or each of a list of prompts, batched together."""
        if isinstance(prompts, str) or all(isinstance(item, Integral) for item in prompts):
            return self.stream(prompts, params).completion()  # type: ignore[arg-type]
        with contextlib.ExitStack() as opened:
            streams = [opened.enter_context(contextlib.closing(self.stream(prompt, params))) for prompt in prompts]  # type: ignore[arg-type]
            return [stream.completion() for stream in streams]

    def chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        *,
        tools: Tools = None,
        chat_template: str | None = None,
        **variables: Any,
    ) -> Completion:
        """Answer a conversation, rendered with the model's own chat template.

        tools: descriptions of functions that the template tells the model of; if the file has a template for tools
        ("tool_use"), that is taken. chat_template: the name of another template of the file. variables: what else the
        template reads (enable_thinking=False).
        """
        return self.stream(messages, params, tools=tools, chat_template=chat_template, **variables).completion()

    def stream(
        self,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        tools: Tools = None,
        chat_template: str | None = None,
        **variables: Any,
    ) -> PieceStream:
        """The pieces of an answer as they are computed; the last one has the completion.

        The request is submitted at once; closing the stream cancels it. tools and so on: as for `chat`.
        """
        stream = PieceStream()
        chat = ChatOptions(tools, chat_template, variables)
        sequence = self._generation(prompt, params, stream.emit, chat).sequence
        self._engine.submit(sequence)
        stream.cancel = lambda: self._engine.cancel(sequence)
        return stream

    async def agenerate(self, prompt: str | Sequence[int], params: SamplingParams | None = None) -> Completion:
        """`generate` of one prompt, without blocking the event loop."""
        return await _alast(self.astream(prompt, params))

    async def achat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        *,
        tools: Tools = None,
        chat_template: str | None = None,
        **variables: Any,
    ) -> Completion:
        """`chat`, without blocking the event loop."""
        return await _alast(self.astream(messages, params, tools=tools, chat_template=chat_template, **variables))

    async def astream(
        self,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        tools: Tools = None,
        chat_template: str | None = None,
        **variables: Any,
    ) -> AsyncGenerator[Piece, None]:
        """`stream`, without blocking the event loop; closing the iterator cancels the request."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[Piece | BaseException] = asyncio.Queue()

        def emit(item: Piece | BaseException) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, item)

        chat = ChatOptions(tools, chat_template, variables)
        sequence = (await asyncio.to_thread(self._generation, prompt, params, emit, chat)).sequence
        self._engine.submit(sequence)  # not in that thread: a task cancelled meanwhile must not leave a request behind
        try:
            while True:
                piece = _raise_or(await pieces.get())
                yield piece
                if piece.completion is not None:
                    return
        finally:
            self._engine.cancel(sequence)

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

    def submit(self, sequence: EngineSequence) -> None:
        """Queue a sequence of the engine's own kind, for those who must see every step (benchmarks)."""
        self._prove_logits()
        self._engine.submit(sequence)

    def encode(self, prompt: Prompt, *, tools: Tools = None, **variables: Any) -> list[int]:
        """The ids that a prompt becomes: a text, ids, or messages with the model's chat template."""
        return self._prompts.encode(prompt, ChatOptions(tools, None, variables))

    def stats(self) -> EngineStats:
        """How many sequences run and wait, and how much of the KV cache is held."""
        return self._engine.stats()

    def warm_up(self) -> None:
        """Run a prefill and a decode step, so that whatever is compiled on first use is."""
        if not self._gives_logits:
            self.embed(["a"], pooling=self.config.pooling_type or "mean", truncate=True)
            return
        params = SamplingParams(temperature=0.0, max_tokens=2, ignore_eos=True)
        self.generate([0] * max(1, min(16, self.max_model_len - 2)), params)

    def _generation(self, prompt: Prompt, params: SamplingParams | None, emit: Emit, chat: ChatOptions) -> Generation:
        """A request, checked and encoded, that is not submitted yet."""
        self._prove_logits()
        params = params or SamplingParams()
        ids = self._prompts.encode(prompt, chat)
        if not ids:
            raise RequestError("the prompt is empty: there is no token to continue from")
        if len(ids) >= self.max_model_len:
            raise ContextOverflow(len(ids), self.max_model_len)
        room = self.max_model_len - len(ids)
        total = len(ids) + min(room, params.max_tokens if params.max_tokens is not None else room)
        return Generation(ids, params, self.tokenizer, total, self.load_s, emit)

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


def _context(config: ModelConfig, wanted: int | None) -> int:
    limit = config.max_position_embeddings
    if wanted is None:
        return min(limit, DEFAULT_CONTEXT)
    if not 2 <= wanted <= limit:
        raise RequestError(f"a context of {wanted} tokens; this model takes 2 to {limit}")
    return wanted


def _limit(graph: Graph, max_model_len: int) -> Bucket:
    """The largest step: rows for all tokens where a row is no logits, room for a text that must be computed at once."""
    if graph.output == "logits" and graph.is_causal:
        return LIMIT
    tokens = LIMIT.max_tokens if graph.is_causal else max(LIMIT.max_tokens, max_model_len)
    return Bucket(tokens, LIMIT.max_seqs, tokens)


def _cache_spec(layers: tuple[tuple[int, int], ...], max_model_len: int, kv_type: str) -> CacheSpec:
    """Room for one full context, and for more of them while the cache stays within CACHE_NBYTES."""
    one = -(-max_model_len // BLOCK_SIZE)
    block_nbytes = CacheSpec(layers, 1, BLOCK_SIZE, kv_type).nbytes
    affordable = CACHE_NBYTES // max(1, block_nbytes)
    return CacheSpec(layers, max(one, min(affordable, LIMIT.max_seqs * one)), BLOCK_SIZE, kv_type)


def _raise_or(item: Piece | BaseException) -> Piece:
    if isinstance(item, BaseException):
        raise item
    return item


async def _alast(pieces: AsyncIterator[Piece]) -> Completion:
    async for piece in pieces:
        last = piece
    assert last.completion is not None
    return last.completion


def _releasing(backend: Backend, file: ModelFile) -> Callable[[], None]:
    """What the engine calls once it has stopped; it knows nothing of the LLM, which could never be dropped else."""

    def release() -> None:
        backend.close()
        file.close()

    return release
