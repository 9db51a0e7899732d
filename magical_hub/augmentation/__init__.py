"""From a generator to labelled training images."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"verification": ["verified"]})
