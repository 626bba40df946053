"""PyTorch-format GPT-2 weights, in and out."""
