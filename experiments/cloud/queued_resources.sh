#!/usr/bin/env bash
# A TPU slice (v4, v5e) through Cloud TPU's queued resources:
#   PROJECT=p ZONE=us-west4-a BUCKET=gs://my-bucket \
#     experiments/cloud/queued_resources.sh create     # then wait until it is ACTIVE
#   ... queued_resources.sh run                        # on every host of the slice
#   ... queued_resources.sh delete
set -euo pipefail
: "${PROJECT:?}" "${ZONE:?}" "${BUCKET:?}"
NAME=${NAME:-gpt2-jax}
ACCELERATOR=${ACCELERATOR:-v5litepod-16}
RUNTIME=${RUNTIME:-v2-alpha-tpuv5-lite}
place=(--project "$PROJECT" --zone "$ZONE")

on_all_hosts() {
  gcloud compute tpus tpu-vm ssh "$NAME" "${place[@]}" --worker=all --command "$1"
}

case "${1:-}" in
create)
  gcloud compute tpus queued-resources create "$NAME" "${place[@]}" \
    --node-id "$NAME" --accelerator-type "$ACCELERATOR" \
    --runtime-version "$RUNTIME" --spot
  ;;
run)
  gcloud compute tpus tpu-vm scp --recurse . "$NAME:gpt2-jax" "${place[@]}" --worker=all
  on_all_hosts "gpt2-jax/experiments/cloud/install.sh"
  on_all_hosts "cd gpt2-jax && JAX_COMPILATION_CACHE_DIR=$BUCKET/compiled .venv/bin/gpt2-jax finetune --distributed --device tpu --weights ${WEIGHTS:-124M} --data ${DATA:-sms-spam} --workdir $BUCKET/runs/$NAME --resume auto"
  ;;
delete)
  gcloud compute tpus queued-resources delete "$NAME" "${place[@]}" --force --quiet
  ;;
*)
  echo "usage: $0 create|run|delete" >&2
  exit 2
  ;;
esac
