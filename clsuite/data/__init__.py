"""Data: uint8 tables of images, cached on disk, and the batches gathered from them."""
