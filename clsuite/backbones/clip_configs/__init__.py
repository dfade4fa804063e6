"""CLIP configurations of our own, each a folder in OpenCLIP's ``local-dir`` layout."""
