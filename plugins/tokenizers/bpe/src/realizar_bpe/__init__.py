"""Byte-level BPE for realizar: the tokenizer of GPT-2, Llama 3, Qwen2, SmolLM2 and their kin."""
