#!/usr/bin/env bash
#SBATCH --job-name=semipose
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --output=slurm-%j.txt
# One training on all GPUs of all machines; what follows the script is what `semipose train` takes:
#   sbatch scripts/slurm_train.sh posedual_jc --data data/coco --protocol coco-1k --out runs/coco-1k
# All machines must see the same data and the same folder of runs. Add --resume to go on with a training that stopped.
set -euo pipefail

if [ $# = 0 ]; then
  echo "What to train? sbatch scripts/slurm_train.sh METHOD [options of semipose train]" >&2
  exit 2
fi
hosts=$(scontrol show hostnames "${SLURM_JOB_NODELIST:?"not inside a job: sbatch scripts/slurm_train.sh ..."}")
first=${hosts%%$'\n'*}  # no `| head`: it closes the pipe under a scontrol that still writes, and pipefail ends the job
export OMP_NUM_THREADS=1  # rows are cut by readers of their own
srun torchrun --nnodes "$SLURM_NNODES" --nproc_per_node "${SLURM_GPUS_ON_NODE:-1}" --rdzv_id "$SLURM_JOB_ID" \
  --rdzv_backend c10d --rdzv_endpoint "$first:29500" --max_restarts 3 -m semipose train "$@"
