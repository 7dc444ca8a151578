"""How Hugging Face writes models down: config.json and the names and orders of tensors."""

from realizar.huggingface.config import read_hf_config
from realizar.huggingface.tensors import canonical_tensors

__all__ = ["canonical_tensors", "read_hf_config"]
