"""clsuite's own CLIP configurations, each a folder in OpenCLIP's ``local-dir`` format."""
