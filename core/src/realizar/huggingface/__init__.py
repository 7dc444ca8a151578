"""The JSON files of a Hugging Face directory: configuration, tokenizer, chat templates."""
