"""Publishing: what is pushed, the card that goes with it, what is refused and why."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"pushing": ["PushResult", "push"]})
