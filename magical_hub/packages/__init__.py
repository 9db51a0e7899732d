"""Procedural top-view pictures of semiconductor packages, aligned as an inspection machine takes them.

    from magical_hub.packages import package_dataset, render_package

Every picture is drawn from (seed, index) alone: a scene (scene.py) is drawn at random, a defect edits it
(defects.py), the painter puts it on a supersampled canvas (painter.py, canvas.py), and the surface lights it and
adds texture and sensor noise (surface.py).
"""

from magical_hub.packages.dataset import package_dataset
from magical_hub.packages.render import DEFECTS, PACKAGES, PackageImage, render_package

__all__ = ["DEFECTS", "PACKAGES", "PackageImage", "package_dataset", "render_package"]
