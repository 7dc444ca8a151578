"""Load on a server that speaks OpenAI's completions, whoever wrote it: requests, their latencies, their percentiles."""

from realizar.bench.load.generator import Load, generate_load
from realizar.bench.load.report import LoadReport, RequestRecord

__all__ = ["Load", "LoadReport", "RequestRecord", "generate_load"]
