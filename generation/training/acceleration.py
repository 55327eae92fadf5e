"""The device, the arithmetic and the processes that a training runs on, through accelerate."""

import atexit

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from generation.devices import choose_device, choose_precision
from generation.errors import SettingsError
from generation.processes import refusing_failed_meeting

# accelerate's names of mixed precisions.
MIXED = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
# Each process holds the whole network: what is saved, averaged and attacked is simply there.
SUPPORTED = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)


def build_accelerator(device: str = "auto", precision: str = "fp32") -> Accelerator:
    """Return this process's accelerator: one process, or as many as `accelerate launch` or torchrun started.

    Args:
        device: `auto`, `cpu` or `cuda`.
        precision: `fp32`; or `bf16` or `fp16`, in which autocast runs the networks, fp16 with a gradient scaler.

    Raises:
        SettingsError: no such device, fp16 on a processor, processes that do not find each other, or a way to
            distribute that the trainer does not know.
    """
    chosen = choose_device(device)
    choose_precision(precision, chosen)
    # It keeps the precision of the process's first training for good; a second one may have another.
    AcceleratorState._reset_state()  # noqa: SLF001 -- there is no other way
    with refusing_failed_meeting():
        accelerator = Accelerator(cpu=chosen.type == "cpu", mixed_precision=MIXED[precision])
    if accelerator.distributed_type not in SUPPORTED:
        raise SettingsError(
            f"Trainings cannot run as {accelerator.distributed_type.value}: launch processes that hold the whole "
            "network each (multi-GPU or multi-CPU)."
        )
    if accelerator.num_processes > 1:
        atexit.register(_leave)
    return accelerator


def _leave() -> None:
    """Take leave of the other processes in good order."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def bare(network: nn.Module) -> nn.Module:
    """Return a network without the wrapper that joins the processes' gradients."""
    return network.module if isinstance(network, DistributedDataParallel) else network
