"""Do the generated images look like the real ones, as a whole?"""

from __future__ import annotations

from magical_hub.evaluation.evidence import Evidence
from magical_hub.evaluation.section import Section, Verdict, at_most
from magical_hub.metrics import frechet_distance, kid

QUESTION = "Do the generated images look like the real ones, as a whole?"
SUBSET_SIZE, SUBSETS = 1000, 100
"""The most images in a subset of KID (half of the images where that is fewer), and how many subsets."""
GOOD, WEAK = 2.0, 5.0
"""The Frechet distance over its floor, up to which images are good, and weak."""
WORDS = {
    Verdict.GOOD: "As a whole the generated images are about as near to real ones as other real images are",
    Verdict.WEAK: "The generated images as a whole differ from real ones",
    Verdict.BAD: "The generated images as a whole are far from real ones",
}


def measure(evidence: Evidence) -> Section:
    """KID and the Frechet distance, each beside its floor: that of real images to other real images."""
    reference, other, generated = (
        evidence.cache.features(images) for images in (evidence.reference, evidence.other, evidence.compared)
    )
    size = min(SUBSET_SIZE, len(reference) // 2)
    ours, floor = (kid(reference, some, SUBSETS, size, evidence.seed) for some in (generated, other))
    distance, distance_floor = (frechet_distance(reference, some) for some in (generated, other))
    verdict = at_most(distance / distance_floor if distance_floor > 0 else float("nan"), GOOD, WEAK)
    network = evidence.cache.network
    side = getattr(network, "image_size", None)
    return Section(
        name="fidelity",
        question=QUESTION,
        verdict=verdict,
        statement=f"{WORDS.get(verdict, 'The real images are all alike')}: KID x 1000 is {1000 * ours.mean:.1f} +- "
        f"{1000 * ours.standard_error:.1f} (floor {1000 * floor.mean:.1f}), the Frechet distance {distance:.1f} "
        f"(floor {distance_floor:.1f}).",
        scores={
            "kid": ours.mean,
            "kid_standard_error": ours.standard_error,
            "kid_floor": floor.mean,
            "kid_floor_standard_error": floor.standard_error,
            "frechet": distance,
            "frechet_floor": distance_floor,
        },
        details={
            "network": evidence.cache.network_name,
            "resizing": f"{side} x {side} px, by the network" if side else "by the network",
            "generated": len(generated),
            "reference": len(reference),
            "other": len(other),
            "kid_subsets": SUBSETS,
            "kid_subset_size": size,
            "good_up_to": f"{GOOD} times the floor of the Frechet distance",
            "weak_up_to": f"{WEAK} times the floor of the Frechet distance",
        },
    )
