"""How Hugging Face writes models down: config.json, names and orders of tensors, tokenizers, chat templates."""

from realizar.huggingface.config import read_hf_config
from realizar.huggingface.tensors import canonical_tensors

__all__ = ["canonical_tensors", "read_hf_config"]
