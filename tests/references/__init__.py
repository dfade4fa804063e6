"""Methods as plain PyTorch loops, written from papers and authors' code; the suite's stage curves are held to theirs.

None of them uses anything of the suite but its table and its tasks, so that both learn the same images and labels.
"""
