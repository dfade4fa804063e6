"""Methods as plain PyTorch loops, written from papers and authors' code: what the suite's stage curves are held against.

None of them uses anything of the suite but its table and its tasks, so that both learn the same images and labels.
"""
