"""What benchmarks/detection.py compares: the images, the detector and the measure."""
