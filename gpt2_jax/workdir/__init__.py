"""The folder of a run: whose it is, and what is written into it."""
