"""Tokenizer files that stand beside a model's weights, as TokenizerSpec."""
