"""Few, large, aligned images in; many labelled ones out: a GAN on the sub-regions of images (MAGICal, 2023).

The public names are listed in `__init__.pyi` and loaded when they are first used, so that `import magical_hub` stays
fast.
"""

import lazy_loader

from magical_hub.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
