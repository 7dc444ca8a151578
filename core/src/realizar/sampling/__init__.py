"""From logits to a token: request parameters, penalties, filters, the draw, and stop strings."""

from realizar.sampling.explanation import SamplerStep
from realizar.sampling.params import SamplingParams
from realizar.sampling.penalties import TokenCounts
from realizar.sampling.philox import random_seed, uniform
from realizar.sampling.processors import LogitsProcessor, LogitsProcessorFactory
from realizar.sampling.sampler import SampledToken, sample
from realizar.sampling.state import SamplerState
from realizar.sampling.stop import StopMatcher

__all__ = [
    "LogitsProcessor", "LogitsProcessorFactory", "SampledToken", "SamplerState", "SamplerStep", "SamplingParams",
    "StopMatcher", "TokenCounts", "random_seed", "sample", "uniform",
]  # fmt: skip
