"""The options of a comparison of detectors."""

from __future__ import annotations

from dataclasses import dataclass

from magical_hub.errors import check_number

DRAWS, QUICK_DRAWS = 8, 6
"""Six is the fewest with which a sign-flip test can fall below 0.05: 2 of 2**6 signs are as extreme as all alike."""
STEPS, QUICK_STEPS = 400, 120
NUM_IMAGES, QUICK_NUM_IMAGES = 400, 100
NUM_GOOD = 250
"""The most good images of all detectors, and as many further ones for the placebo."""


@dataclass(frozen=True, kw_only=True)
class UsefulnessOptions:
    """How `evaluate --usefulness` compares detectors of boxes or masks.

    Attributes:
        image_column: column of the images.
        objects_column: column of boxes; auto finds it.
        mask_column: column of masks; auto finds it. Where there are both, masks are taken.
        mask_values: names of the classes that values of the masks stand for: 1=dark,2=crack.
        reference_column: images of the same objects without their defects.
        group_column: of boards, lots or modules: one group is tested on or trained on, never both. Without it each
            image is a group of its own.
        split: of the dataset.
        test_fraction: of the images; whole groups are set aside for testing until they have so many.
        num_defective: images with defects that a detector is trained with, drawn anew for each draw; three quarters of
            those that are not for testing unless given.
        draws: how often all detectors are trained anew; 8, or 6 with quick.
        steps: of the training of a detector; 400, or 120 with quick.
        image_size: pixels that the longer side of all images is reduced to; 256 for boxes and 128 for masks, or less
            where they are smaller.
        quick: fewer draws, steps and synthetic images where these are not given: minutes, and less certain.

    Raises:
        ConfigError: where one is out of its range.
    """

    image_column: str = "image"
    objects_column: str | None = "auto"
    mask_column: str | None = "auto"
    mask_values: str | None = None
    reference_column: str | None = None
    group_column: str | None = None
    split: str = "train"
    test_fraction: float = 0.33
    num_defective: int | None = None
    draws: int | None = None
    steps: int | None = None
    image_size: int | None = None
    quick: bool = False

    def __post_init__(self) -> None:
        for name, low in (("num_defective", 1), ("draws", 1), ("steps", 1), ("image_size", 32)):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), at_least=low, whole=True)
        check_number("test_fraction", self.test_fraction, above=0, below=1)

    def all_draws(self) -> int:
        """The number of draws: as given, or the default of the quick or the full form."""
        return self.draws or (QUICK_DRAWS if self.quick else DRAWS)

    def all_steps(self) -> int:
        """The steps of a detector, likewise."""
        return self.steps or (QUICK_STEPS if self.quick else STEPS)

    def all_images(self, num_images: int | None) -> int:
        """The synthetic images of a detector, likewise.

        Raises:
            ConfigError: where the number is below 1.
        """
        if num_images is not None:
            check_number("num_images", num_images, at_least=1, whole=True)
        return num_images or (QUICK_NUM_IMAGES if self.quick else NUM_IMAGES)
