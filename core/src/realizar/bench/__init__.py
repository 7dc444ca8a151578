"""Measuring an engine: the same quantities as llama-bench, beside llama.cpp and beside what the machine allows."""

from realizar.bench.case import Case, make_cases
from realizar.bench.llama_cpp import LlamaCpp
from realizar.bench.result import Report, Result
from realizar.bench.session import Session

__all__ = ["Case", "LlamaCpp", "Report", "Result", "Session", "make_cases"]
