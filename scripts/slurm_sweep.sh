#!/usr/bin/env bash
#SBATCH --job-name=semipose-sweep
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --output=slurm-%A_%a.txt
# Every missing row of a table, one a task:
#   semipose sweep lsp-100-small --data data/lsp --seeds 3 --print > rows.txt
#   sbatch --array=1-"$(wc -l < rows.txt)" scripts/slurm_sweep.sh rows.txt
# What a stopped task had finished is in the ledger; print the list again for the rest.
set -euo pipefail

rows=${1:?"which file? sbatch --array=1-N scripts/slurm_sweep.sh rows.txt"}
line=$(sed -n "${SLURM_ARRAY_TASK_ID:?"not a task of an array: sbatch --array=1-N"}p" "$rows")
if [ -z "$line" ]; then
  echo "$rows has no line $SLURM_ARRAY_TASK_ID: give --array=1-$(wc -l < "$rows")." >&2
  exit 2
fi
echo "$line"
exec bash -c "$line"
