"""Usefulness of synthetic images for two detectors: which of them can be measured on these images, and the scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from magical_hub.data.canvas import digest
from magical_hub.errors import DataError, check_number
from magical_hub.evaluation.section import LeftOut
from magical_hub.evaluation.usefulness.anomaly import detect
from magical_hub.evaluation.usefulness.classification import classify, makers
from magical_hub.evaluation.usefulness.extractor import Extractor
from magical_hub.evaluation.usefulness.result import CONFIDENCE, PROCEDURAL, Effort, TaskResult, UsefulnessResult
from magical_hub.evaluation.usefulness.synthetic import FromPipeline, FromSet, Synthesiser
from magical_hub.metrics import FeatureNetwork, efficientnet_lite0
from magical_hub.pipeline import MagicalPipeline


def measure_usefulness(
    pipe_or_generated: MagicalPipeline | np.ndarray | tuple[np.ndarray, np.ndarray],
    real_images: np.ndarray,
    real_labels: np.ndarray | None,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    *,
    normal_class: int | None = None,
    network: FeatureNetwork | None = None,
    seeds: int = 8,
    steps: int = 300,
    num_extra: int = 200,
    num_test: int = 1000,
    resamples: int = 2000,
    seed: int = 0,
    progress: bool = True,
) -> UsefulnessResult:
    """Whether synthetic images make two detectors better: a classifier, and anomaly detection from normal images.

    The real images must be all that the generator learned from, or more of them: else it brings images to the detector
    that the detector was denied.

    Args:
        pipe_or_generated: a pipeline; or images (M, C, H, W) uint8, with their classes (M,) where they have some.
        real_images: (N, C, H, W) uint8.
        real_labels: (N,) class numbers, those of the pipeline; None where all are normal.
        test_images: (T, C, H, W) uint8, none of them among the real ones.
        test_labels: (T,); without real labels 0 is normal and all else an anomaly.
        normal_class: the number of the class without defects; None leaves out what needs it.
        network: frozen, with `maps`; EfficientNet-Lite0 unless given.
        seeds: how often everything is done anew, 2 or more; a verdict wants 8.
        steps: gradient steps of each classifier.
        num_extra: further images of each kind for each seed.
        num_test: the most test images; where there are more, some are drawn.
        resamples: of seeds and test images, for the intervals.
        seed: everything random depends on it alone.
        progress: show a bar on stderr.

    Raises:
        ConfigError: where a number is out of its range.
        DataError: where the images do not fit each other, or a test image is among the real ones.
        MissingPackageError: without the extra `eval`.
    """
    least = {"seeds": (seeds, 2), "steps": (steps, 1), "num_extra": (num_extra, 2), "resamples": (resamples, 100)}
    for name, (value, low) in least.items():
        check_number(name, value, at_least=low)
    synthesiser = _synthesiser(pipe_or_generated, seed)
    _check(synthesiser, real_images, real_labels, test_images, test_labels)
    kept = _some(len(test_images), num_test, seed)
    extractor = Extractor(network if network is not None else efficientnet_lite0())
    images = _Images(
        synthesiser=synthesiser,
        real=real_images,
        labels=None if real_labels is None else np.asarray(real_labels),
        normal=0 if real_labels is None else normal_class,
        test=test_images[kept],
        test_labels=np.asarray(test_labels)[kept],
    )
    tasks: dict[str, TaskResult] = {}
    left_out: dict[str, str] = {}
    with tqdm(desc="usefulness", unit="image", disable=not progress) as bar:
        effort = Effort(seeds, steps, num_extra, resamples, seed, bar.update)
        for name, measure in (("classification", _classification), ("anomaly_detection", _anomaly_detection)):
            try:
                tasks[name] = measure(images, extractor, effort)
            except LeftOut as reason:
                left_out[name] = str(reason)
    if "classification" in tasks and PROCEDURAL not in tasks["classification"].scores:
        left_out[PROCEDURAL] = "there are no normal images to put defects on: give normal_class"
    settings = {
        "seeds": seeds,
        "steps": steps,
        "further_images": num_extra,
        "resamples": resamples,
        "seed": seed,
        "confidence": CONFIDENCE,
        "network": extractor.network.name,
        "network_image_size": extractor.network.image_size,
        "precision": extractor.precision,
    }
    return UsefulnessResult(tasks, left_out, settings)


@dataclass(frozen=True)
class _Images:
    synthesiser: Synthesiser
    real: np.ndarray
    labels: np.ndarray | None
    normal: int | None
    test: np.ndarray
    test_labels: np.ndarray


def _classification(images: _Images, extractor: Extractor, effort: Effort) -> TaskResult:
    if images.labels is None:
        raise LeftOut("the real images have no labels")
    if images.synthesiser.classes is None:
        raise LeftOut("the synthetic images have no classes: train the generator with label_column")
    classes = np.intersect1d(_at_least_two(images.labels), _at_least_two(images.test_labels))
    if len(classes) < 2:
        raise LeftOut("fewer than two classes have two real and two test images each")
    if effort.num_extra < len(classes):
        raise LeftOut(f"num_extra is {effort.num_extra}, less than one for each of {len(classes)} classes")
    unknown = sorted(set(classes.tolist()) - images.synthesiser.classes)
    if unknown:
        raise LeftOut(f"there are no synthetic images of the classes {', '.join(map(str, unknown))}")
    real, labels = _of(classes, images.real, images.labels)
    ways = makers(images.synthesiser, classes, real, labels, _place(classes, images.normal), effort.seed)
    return classify(extractor, ways, (real, labels), _of(classes, images.test, images.test_labels), effort)


def _anomaly_detection(images: _Images, extractor: Extractor, effort: Effort) -> TaskResult:
    normal = images.normal
    if normal is None:
        raise LeftOut("no normal_class was given")
    anomalous = images.test_labels != normal
    if min(anomalous.sum(), (~anomalous).sum()) < 2:
        raise LeftOut("the test images are not two normal ones and two anomalies, or more")
    normals = images.real if images.labels is None else images.real[images.labels == normal]
    if len(normals) < 2:
        raise LeftOut("there are fewer than two real normal images")
    known = images.synthesiser.classes
    if known is None and images.labels is not None:
        raise LeftOut("the synthetic images have no classes, and the real ones are not all normal")
    if known is not None and normal not in known:
        raise LeftOut(f"there are no synthetic images of the class {normal}")

    def draw(count: int, turn: int) -> np.ndarray:
        return images.synthesiser.draw(None if known is None else np.full(count, normal), count, turn)

    return detect(extractor, normals, draw, (images.test, anomalous), effort)


def _synthesiser(given: MagicalPipeline | np.ndarray | tuple[np.ndarray, np.ndarray], seed: int) -> Synthesiser:
    if isinstance(given, MagicalPipeline):
        return FromPipeline(given, seed)
    images, labels = given if isinstance(given, tuple) else (given, None)
    return FromSet(images, labels, seed)


def _check(
    synthesiser: Synthesiser,
    real: np.ndarray,
    labels: np.ndarray | None,
    test: np.ndarray,
    test_labels: np.ndarray,
) -> None:
    for name, some in (("real", real), ("test", test)):
        if some.ndim != 4 or some.dtype != np.uint8 or not len(some) or some.shape[1:] != synthesiser.shape:
            raise DataError(
                f"{name} images are {some.shape} {some.dtype}, and the synthetic ones {synthesiser.shape}: "
                "give (N, C, H, W) uint8 of one shape"
            )
    for name, values, count in (("real", labels, len(real)), ("test", test_labels, len(test))):
        if values is not None and len(values) != count:
            raise DataError(f"{count} {name} images have {len(values)} labels: give one per image")
    shared = {digest([image]) for image in real} & {digest([image]) for image in test}
    if shared:
        raise DataError(f"{len(shared)} test images are among the real ones: take them out of one of the two")


def _some(count: int, most: int, seed: int) -> np.ndarray:
    """Numbers of at most `most` images, in order."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def _at_least_two(labels: np.ndarray) -> np.ndarray:
    classes, counts = np.unique(labels, return_counts=True)
    return classes[counts >= 2]


def _of(classes: np.ndarray, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The images of these classes (sorted), with the places of their labels among the classes."""
    chosen = np.isin(labels, classes)
    return images[chosen], np.searchsorted(classes, labels[chosen])


def _place(classes: np.ndarray, label: int | None) -> int | None:
    return int(np.searchsorted(classes, label)) if label is not None and label in classes else None
