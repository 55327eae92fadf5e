"""Which device computes, and in which precision."""

import ctypes
import sys
from typing import Literal

import torch

from generation.errors import SettingsError

DeviceName = Literal["auto", "cpu", "cuda"]
# glibc's numbers of what mallopt sets, and to how many bytes: free memory that may stay, and the smallest buffer that
# the system is asked for by itself, of which this is the most that glibc takes.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT = {M_TRIM_THRESHOLD: 1 << 30, M_MMAP_THRESHOLD: 32 << 20}

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str) -> torch.device:
    """Return the device of that name; `auto` takes CUDA where there is one.

    Raises:
        SettingsError: CUDA is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise SettingsError("--device cuda: this machine has no CUDA device that torch can use; take --device cpu.")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the networks' arithmetic: `fp32`, `bf16` or `fp16`.

    Raises:
        SettingsError: float16 on a processor, which lacks its arithmetic.
    """
    if name == "fp16" and device.type == "cpu":
        raise SettingsError("--precision fp16 needs a CUDA device: take bf16 or fp32 on a processor.")
    return PRECISIONS[name]


def keep_freed_memory() -> None:
    """Have this process keep the memory that tensors leave, for the next ones.

    glibc gives large buffers back to the system at once, and a step's next buffer is fetched again page by page, which
    takes as long as filling it. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, size in KEPT.items():
            mallopt(parameter, size)
