"""Weights and classifiers for other tools."""
