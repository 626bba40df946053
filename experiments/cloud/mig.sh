#!/usr/bin/env bash
# A TPU slice (v5p, v6e and newer) as a managed instance group of Compute Engine:
#   PROJECT=p ZONE=us-east5-b BUCKET=gs://my-bucket experiments/cloud/mig.sh create
#   ... mig.sh delete
# Every host starts the run when it boots, and goes on with it after a preemption.
set -euo pipefail
: "${PROJECT:?}" "${ZONE:?}" "${BUCKET:?}"
: "${REPOSITORY:=$(git remote get-url origin 2>/dev/null || true)}"
NAME=${NAME:-gpt2-jax}
REGION=${ZONE%-*}
MACHINE=${MACHINE:-ct6e-standard-4t} # 4 chips of v6e
TOPOLOGY=${TOPOLOGY:-4x4}            # 16 chips, so
HOSTS=${HOSTS:-4}                    # 4 hosts

case "${1:-}" in
create)
  startup=$(mktemp)
  trap 'rm -f "$startup"' EXIT
  cat >"$startup" <<SCRIPT
#!/usr/bin/env bash
set -euo pipefail
[ -d /opt/gpt2-jax ] || git clone "${REPOSITORY:?name the repository to clone}" /opt/gpt2-jax
cd /opt/gpt2-jax
experiments/cloud/install.sh
export JAX_COMPILATION_CACHE_DIR=$BUCKET/compiled
.venv/bin/gpt2-jax finetune --distributed --device tpu --weights ${WEIGHTS:-124M} --data ${DATA:-sms-spam} --workdir $BUCKET/runs/$NAME --resume auto
SCRIPT
  gcloud compute resource-policies create workload-policy "$NAME" \
    --project "$PROJECT" --region "$REGION" \
    --type HIGH_THROUGHPUT --accelerator-topology "$TOPOLOGY"
  gcloud compute instance-templates create "$NAME" --project "$PROJECT" \
    --machine-type "$MACHINE" --maintenance-policy TERMINATE \
    --provisioning-model SPOT --instance-termination-action DELETE \
    --image-project ubuntu-os-accelerator-images \
    --image-family ubuntu-accel-2204-amd64-tpu-v5e-v5p-v6e \
    --scopes cloud-platform --metadata-from-file startup-script="$startup"
  gcloud compute instance-groups managed create "$NAME" \
    --project "$PROJECT" --zone "$ZONE" --size "$HOSTS" --template "$NAME" \
    --workload-policy "projects/$PROJECT/regions/$REGION/resourcePolicies/$NAME"
  ;;
delete)
  gcloud compute instance-groups managed delete "$NAME" --project "$PROJECT" --zone "$ZONE" --quiet
  gcloud compute instance-templates delete "$NAME" --project "$PROJECT" --quiet
  gcloud compute resource-policies delete "$NAME" --project "$PROJECT" --region "$REGION" --quiet
  ;;
*)
  echo "usage: $0 create|delete" >&2
  exit 2
  ;;
esac
