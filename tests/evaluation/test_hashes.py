import numpy as np

from magical_hub.evaluation.hashes import near_pairs, perceptual_hashes


def test_altered_images_stay_near_and_others_are_not(cells):
    images = cells[:40, 0]
    altered = np.round(images * 0.95 + 6).astype(np.uint8)
    pairs = near_pairs(perceptual_hashes(images), perceptual_hashes(altered), chunk=7)
    assert {(row, row) for row in range(40)} - {(left, right) for left, right, _ in pairs} == set()
    assert len(pairs) <= 44 and (np.diff(pairs[:, 2]) >= 0).all()


def test_bits_are_counted_one_by_one():
    left = np.zeros((1, 32), np.uint8)
    right = np.zeros((3, 32), np.uint8)
    right[1, 0], right[2, :3] = 0b101, 255  # 2 bits, and 24
    assert near_pairs(left, right).tolist() == [[0, 0, 0], [0, 1, 2]]
