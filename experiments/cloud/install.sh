#!/usr/bin/env bash
# Install gpt2-jax with its TPU and bucket extras into .venv, on a TPU host.
# uv brings the Python: that of the TPU images is 3.10, and jax needs a newer one.
set -euo pipefail
cd "$(dirname "$0")/../.."
export HOME=${HOME:-/root} # a startup script has none
command -v uv >/dev/null || curl -LsSf https://astral.sh/uv/install.sh | sh
export PATH="$HOME/.local/bin:$PATH"
[ -x .venv/bin/python ] || uv venv --quiet --python 3.12 .venv
uv pip install --quiet --python .venv/bin/python --editable '.[report,gcs,tpu]'
