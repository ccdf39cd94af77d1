#!/usr/bin/env bash
# Trains an experiment's populations on Slurm, on any number of nodes:
#
#   sbatch --nodes=4 --gpus-per-node=8 --time=2:00:00 launch/slurm.sh \
#       mntd_mnist --workdir=/shared/runs/mnist
#
# Submit it from the checkout, in the environment that bdjax is installed in; the run
# directory must be one that all nodes see. Whatever ends the job, the same command, or
# Slurm's own requeue, goes on from the last committed chunks, on other nodes too.
#SBATCH --job-name=bdjax
#SBATCH --nodes=1
# One task a node: JAX drives all GPUs of a node, or all its cores, from one process.
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --requeue
# A minute before the time limit: time to finish the commit in flight.
#SBATCH --signal=TERM@60
#SBATCH --output=bdjax-%j.log
#SBATCH --open-mode=append

# No binding, or a task would get one core. Where one task dies the others end by
# themselves, their commits finished; Slurm's way would be SIGKILL.
srun --cpu-bind=none --kill-on-bad-exit=0 python -u -m bdjax population "$@"
status=$?
# Terminated, by the time limit or for a requeue; not by scancel.
if [ "$status" -eq 143 ] && [ "$(squeue -h -j "$SLURM_JOB_ID" -o %T)" = RUNNING ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
