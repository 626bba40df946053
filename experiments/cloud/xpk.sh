#!/usr/bin/env bash
# A multi-host TPU slice on GKE, through xpk (pip install xpk):
#   PROJECT=p ZONE=us-west4-a CLUSTER=c IMAGE=REGION-docker.pkg.dev/p/r/gpt2-jax \
#     BUCKET=gs://my-bucket experiments/cloud/xpk.sh
# Further arguments go to xpk, such as --dry-run.
set -euo pipefail
: "${PROJECT:?}" "${ZONE:?}" "${CLUSTER:?}" "${IMAGE:?}" "${BUCKET:?}"
TPU_TYPE=${TPU_TYPE:-v5litepod-16}
NAME=${NAME:-gpt2-jax}

# A preempted slice ends with 143 once its state is saved; xpk starts those again.
xpk workload create \
  --workload "$NAME" --cluster "$CLUSTER" --project "$PROJECT" --zone "$ZONE" \
  --tpu-type "$TPU_TYPE" --docker-image "$IMAGE" \
  --max-restarts 20 --termination-grace-period-seconds 120 \
  --env JAX_COMPILATION_CACHE_DIR="$BUCKET/compiled" \
  --command "gpt2-jax finetune --distributed --device tpu --weights ${WEIGHTS:-124M} --data ${DATA:-sms-spam} --workdir $BUCKET/runs/$NAME --resume auto" \
  "$@"
