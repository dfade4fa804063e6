"""Readers of the formats in which data sets are downloaded: from a folder to a manifest."""
