"""What benchmarks/defects.py is made of: the data and their parts, the arms, the results on disk, the statistics."""
