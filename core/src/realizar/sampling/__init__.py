"""From logits to a token: request parameters, penalties, filters, the draw, and stop strings."""

from realizar.sampling.params import SamplingParams
from realizar.sampling.penalties import TokenCounts
from realizar.sampling.philox import random_seed, uniform
from realizar.sampling.sampler import SampledToken, sample
from realizar.sampling.stop import StopMatcher

__all__ = ["SampledToken", "SamplingParams", "StopMatcher", "TokenCounts", "random_seed", "sample", "uniform"]
