"""The RUN folder: its layout, the split of its images, checkpoints, records, figures and samples."""
