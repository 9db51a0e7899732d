"""The version: a constant, since an archive that torch.hub loads has no metadata."""

__version__ = "0.1.0"
