"""Readers of the layouts in which data sets are downloaded: from a folder to a manifest."""
