"""The states of a run on the disk, checked leaf by leaf."""
