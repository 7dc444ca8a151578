"""The engine: load a model, batch requests, stream text."""

from realizar.engine.llm import LLM, load_tokenizer
from realizar.engine.prefix_cache import PrefixReport
from realizar.engine.result import Completion, Piece, Timings, TokenLogprob
from realizar.engine.stats import EngineStats

__all__ = ["LLM", "Completion", "EngineStats", "Piece", "PrefixReport", "Timings", "TokenLogprob", "load_tokenizer"]
