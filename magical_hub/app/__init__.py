"""The page of `magical-hub app`: one tab per module, each a thin layer over the public functions."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"page": ["build", "serve"]})
