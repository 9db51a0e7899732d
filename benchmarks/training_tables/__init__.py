"""The tables of benchmarks/training.py, a module each, and what they share."""
