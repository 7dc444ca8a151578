"""SentencePiece tokenizers for realizar: unigram, and BPE by scores as in Llama 2 and Gemma."""
