"""Labelled texts: from a source to padded batches."""
