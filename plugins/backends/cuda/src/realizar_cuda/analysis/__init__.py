"""What can be seen of a kernel without running it: in its source, in the PTX and in the machine code made of it."""

from realizar_cuda.analysis.finding import Finding, Severity
from realizar_cuda.analysis.ptx_rules import check_ptx
from realizar_cuda.analysis.resources import Resources, read_resources
from realizar_cuda.analysis.source_rules import check_source

__all__ = ["Finding", "Resources", "Severity", "check_ptx", "check_source", "read_resources"]
