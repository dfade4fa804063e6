"""Where runs are done: here, in processes of this machine, on a Ray cluster, by Slurm. It is part of no key."""
