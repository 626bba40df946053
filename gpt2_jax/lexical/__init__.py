"""Linear models on n-grams: a baseline, and the lexical part beside a model's head."""
