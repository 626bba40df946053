"""Files: written whole or not at all, with hashes, from the network or a bucket."""
