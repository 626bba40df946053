#!/usr/bin/env bash
# A TPU slice on GKE, through Cluster Toolkit, on a cluster that its blueprints made:
#   gcluster deploy -d gke-tpu-v6e-deployment.yaml examples/gke-tpu-v6e/gke-tpu-v6e.yaml
#   PROJECT=p ZONE=us-west4-a CLUSTER=c IMAGE=REGION-docker.pkg.dev/p/r/gpt2-jax \
#     BUCKET=gs://my-bucket experiments/cloud/gcluster.sh
# Further arguments go to gcluster, such as --dry-run-out=job.yaml.
set -euo pipefail
: "${PROJECT:?}" "${ZONE:?}" "${CLUSTER:?}" "${IMAGE:?}" "${BUCKET:?}"
TPU_TYPE=${TPU_TYPE:-v6e-16}
NAME=${NAME:-gpt2-jax}

# A preempted slice has the grace period to save its state, and is started again.
gcluster job submit \
  --name "$NAME" --cluster "$CLUSTER" --project "$PROJECT" --location "$ZONE" \
  --compute-type "$TPU_TYPE" --image "$IMAGE" \
  --max-restarts 20 --grace-period 120s \
  --env JAX_COMPILATION_CACHE_DIR="$BUCKET/compiled" \
  --command "gpt2-jax finetune --distributed --device tpu --weights ${WEIGHTS:-124M} --data ${DATA:-sms-spam} --workdir $BUCKET/runs/$NAME --resume auto" \
  "$@"
