"""Inception with weights that follow from their names, as the reference numbers were made (parity/)."""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

PARITY = Path(__file__).parent / "parity"


def inception_tensors() -> dict[str, Tensor]:
    """The published file's names and shapes, with reproducible weights."""
    shapes = json.loads((PARITY / "inception_fid.tensors.json").read_text())
    return {name: _weight(name, shape) for name, shape in shapes.items()}


def _weight(name: str, shape: list[int]) -> Tensor:
    noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, dtype=np.float32)
    if len(shape) == 4:
        values = noise * math.sqrt(2 / math.prod(shape[1:]))
    elif len(shape) == 2:
        values = noise / math.sqrt(shape[1])
    elif name.endswith("running_var"):
        values = 1 + 0.1 * np.abs(noise)
    elif name.endswith("bn.weight"):
        values = 1 + 0.1 * noise
    else:
        values = 0.1 * noise
    return torch.from_numpy(values.astype(np.float32))
