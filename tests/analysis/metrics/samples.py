"""Features to measure."""

import torch
from torch import Tensor


def line(*values: float) -> Tensor:
    """One-dimensional features."""
    return torch.tensor(values, dtype=torch.float32)[:, None]


def normal(count: int, dimensions: int, *, seed: int, shift: float = 0.0, scale: float = 1.0) -> Tensor:
    """Independent normal features."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dimensions, generator=generator, dtype=torch.float64) * scale + shift


def rotation(dimensions: int, seed: int) -> Tensor:
    """An orthogonal matrix."""
    orthogonal: Tensor = torch.linalg.qr(normal(dimensions, dimensions, seed=seed)).Q
    return orthogonal
