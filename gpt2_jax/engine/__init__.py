"""A model run over texts: batches, the frozen trunk, train steps, devices."""
