"""Executors: in this process, in processes of this machine, on a Ray cluster, by Slurm. They are not part of keys."""
