"""Pure measures on arrays: features of images in, figures out. Nothing here knows of models, training or folders."""

from magical_hub.metrics.coherence import Coherence, coherence
from magical_hub.metrics.distances import KID, frechet_distance, kid
from magical_hub.metrics.features import FeatureNetwork, efficientnet_lite0, extract
from magical_hub.metrics.manifold import ManifoldScores, manifold_scores
from magical_hub.metrics.memory_bank import distances_to, k_centres, patches, uncovered
from magical_hub.metrics.optional import MissingPackageError
from magical_hub.metrics.seams import SeamRatio, relative_seam_ratio, seam_ratio
from magical_hub.metrics.variety import relative_variety

__all__ = [
    "KID",
    "Coherence",
    "FeatureNetwork",
    "ManifoldScores",
    "MissingPackageError",
    "SeamRatio",
    "coherence",
    "distances_to",
    "efficientnet_lite0",
    "extract",
    "frechet_distance",
    "k_centres",
    "kid",
    "manifold_scores",
    "patches",
    "relative_seam_ratio",
    "relative_variety",
    "seam_ratio",
    "uncovered",
]
