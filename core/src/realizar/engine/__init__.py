"""The engine: load a model, batch requests, stream text."""

from realizar.engine.llm import LLM, load_tokenizer
from realizar.engine.result import Completion, Piece, Timings, TokenLogprob

__all__ = ["LLM", "Completion", "Piece", "Timings", "TokenLogprob", "load_tokenizer"]
