"""A tokenizer.json as it is meant: added tokens, normalizers, pre-tokenizers, a plugin's model, decoders.

The names are those of Hugging Face `tokenizers`. Reading the file is `realizar.huggingface.pipeline`; the model, which
makes ids of words, is a tokenizer plugin's.
"""
