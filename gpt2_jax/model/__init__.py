"""GPT-2 as an immutable flax module, and its params by path."""
