"""WordPiece for realizar: the tokenizer of BERT and of the sentence encoders made from it."""
