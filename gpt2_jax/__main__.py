"""`python -m gpt2_jax` is `gpt2-jax`."""

import sys

from gpt2_jax.cli.main import main

sys.exit(main())
