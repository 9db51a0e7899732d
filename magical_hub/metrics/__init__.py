"""Pure measures on arrays: features of images in, figures out. Nothing here depends on models, training or folders."""

from magical_hub.metrics.alignment import alignment
from magical_hub.metrics.coherence import Coherence, brightness_and_contrast, coherence, coherence_of
from magical_hub.metrics.copying import (
    crowd_test,
    holm,
    membership_test,
    memorisation,
    nearer_test,
    single_tests,
)
from magical_hub.metrics.distances import KID, frechet_distance, kid
from magical_hub.metrics.features import FeatureNetwork, efficientnet_lite0, extract
from magical_hub.metrics.likelihood import Likelihood, mixture_likelihood
from magical_hub.metrics.manifold import ManifoldScores, manifold_scores
from magical_hub.metrics.memory_bank import coreset_extension, distances_to, k_centres, patches
from magical_hub.metrics.neighbours import Neighbours, nearest, nearest_aligned
from magical_hub.metrics.seams import (
    SeamRatio,
    halves_interval,
    line_differences,
    relative_ratio,
    relative_seam_ratio,
    seam_energies,
    seam_ratio,
)
from magical_hub.metrics.variety import relative_variety

__all__ = [
    "KID",
    "Coherence",
    "FeatureNetwork",
    "Likelihood",
    "ManifoldScores",
    "Neighbours",
    "SeamRatio",
    "alignment",
    "brightness_and_contrast",
    "coherence",
    "coherence_of",
    "coreset_extension",
    "crowd_test",
    "distances_to",
    "efficientnet_lite0",
    "extract",
    "frechet_distance",
    "halves_interval",
    "holm",
    "k_centres",
    "kid",
    "line_differences",
    "manifold_scores",
    "membership_test",
    "memorisation",
    "mixture_likelihood",
    "nearer_test",
    "nearest",
    "nearest_aligned",
    "patches",
    "relative_ratio",
    "relative_seam_ratio",
    "relative_variety",
    "seam_energies",
    "seam_ratio",
    "single_tests",
]
