"""Labelled images from files, as the networks take them."""

from generation.datasets.images import LabelledImages, Split, to_bytes, to_unit_range
from generation.datasets.loading import load_dataset

__all__ = ["LabelledImages", "Split", "load_dataset", "to_bytes", "to_unit_range"]
