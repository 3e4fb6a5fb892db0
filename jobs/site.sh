# What is particular to a cluster: change it here, once. All jobs source this file on their nodes. What sbatch must know
# (the first part) it takes from the shell that calls it, so source the file there too:
#
#   source jobs/site.sh
#   sbatch jobs/train_one_node.sbatch --num_epochs 50

# For sbatch; its command line wins over these, and these win over the #SBATCH lines of the jobs.
# export SBATCH_PARTITION=gpu
# export SBATCH_ACCOUNT=my_project
# export SBATCH_QOS=preemptible
# GPUs: one per rank. Either all of a node's, of which each rank takes its own by its number on the node (ranks reach
# each other's memory directly, so prefer this one) ...
# export SBATCH_GPUS_PER_NODE=4
# ... or one for each task, the only one that it sees:
# export SBATCH_GPUS_PER_TASK=1

# Software that comes in modules.
# module purge
# module load openmpi hdf5 cuda nccl

# How ranks are started. srun: Slurm starts them and tells them of each other through PMIx (`srun --mpi=list` must
# show it). mpirun: where Slurm has no PMIx, or none that fits the MPI library.
: "${LAUNCHER:=srun}"
: "${SRUN_MPI:=pmix}"

# The network between nodes, where what MPI and NCCL find by themselves is not it.
# export OMPI_MCA_btl_tcp_if_include=ib0     # MPI over TCP: the interface
# export UCX_NET_DEVICES=mlx5_0:1            # MPI over UCX: the adapter
# export NCCL_SOCKET_IFNAME=ib0              # NCCL: the interface over which its ranks find each other
# export NCCL_IB_HCA=mlx5                    # NCCL: the adapters over which they send

# A job is put back into the queue at most so many times in a row without a new file in its folder.
: "${MAX_IDLE_RESTARTS:=3}"
