"""The code published with the paper, from a checkout, made to run one training iteration on a batch that is given.

Its loop lies in a script's `main` together with its data and its logs, so the steps of that loop are called here one by
one: its attack, its network, its accuracies, its loss, its trainer. Left out, in its favour, are the wrapper for
several processes and the logging of losses by timestep.
"""

import importlib
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from generation.presets import Attack, Preset

SCRIPT = "cifar_rob_train"
# Of which the script needs no more than that they can be imported: for remote files, and for several processes.
UNUSED = ("blobfile", "mpi4py")


def import_published(folder: Path, *, cuda: bool) -> tuple[types.ModuleType, types.ModuleType, types.ModuleType]:
    """Return the training script, the networks and the trainers of a checkout."""
    if not (folder / f"{SCRIPT}.py").is_file():
        raise SystemExit(f"{folder} holds no {SCRIPT}.py: give a checkout of bahjat-kawar/enhancing-diffusion-robust.")
    for name in UNUSED:
        module = types.ModuleType(name)
        module.MPI = None  # type: ignore[attr-defined]
        sys.modules.setdefault(name, module)
    if not cuda:
        # It moves every image to the GPU; here they stay where they are.
        torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    sys.path.insert(0, str(folder.resolve()))
    # Left alone, its logger makes a folder where it happens to be.
    importlib.import_module("guided_diffusion.logger").configure(dir=tempfile.gettempdir(), format_strs=[])
    return (
        importlib.import_module(SCRIPT),
        importlib.import_module("guided_diffusion.unet"),
        importlib.import_module("guided_diffusion.fp16_util"),
    )


class PublishedTraining:
    """An iteration of the published code."""

    def __init__(
        self,
        folder: Path,
        preset: Preset,
        attack: Attack,
        weights: dict[str, Tensor],
        *,
        device: torch.device,
        mixed: bool,
    ) -> None:
        self.script, networks, trainers = import_published(folder, cuda=device.type == "cuda")
        self.settings = attack
        shape, image = preset.classifier, preset.image
        half = mixed and device.type == "cuda"
        self.network = networks.EncoderUNetModel(
            image_size=image.size,
            in_channels=image.channels,
            model_channels=shape.width,
            out_channels=image.classes,
            num_res_blocks=shape.depth,
            attention_resolutions=tuple(image.size // side for side in shape.attention_resolutions),
            channel_mult=shape.channel_mult,
            num_head_channels=shape.head_channels,
            use_fp16=half,
            use_scale_shift_norm=shape.scale_shift_norm,
            resblock_updown=shape.resblock_updown,
            pool="attention",
        )
        self.network.load_state_dict(weights)
        self.network.to(device).train()
        self.trainer = trainers.MixedPrecisionTrainer(model=self.network, use_fp16=half, initial_lg_loss_scale=16.0)
        self.optimizer = torch.optim.AdamW(self.trainer.master_params, lr=0.0, weight_decay=0.05)

    def attacked(self, batch: Any) -> Tensor:  # noqa: ANN401 -- the benchmark's batch
        """Return the images as the published attack leaves them."""
        settings = self.settings
        attacked: Tensor
        if settings.threat_model == "linf":
            attacked = self.script.untargeted_pgd_linf(
                self.network,
                batch.x_t,
                batch.label,
                num_iter=settings.steps,
                eps=settings.epsilon,
                step_size=settings.step_size,
                timesteps=batch.timestep,
            )
        else:
            ones = torch.ones(len(batch.label), device=batch.x_t.device)
            attacked = self.script.untargeted_pgd_l2(
                self.network,
                batch.x_t,
                batch.label,
                num_iter=settings.steps,
                eps=settings.epsilon * ones,
                step_size=settings.step_size * ones,
                timesteps=batch.timestep,
            )
        return attacked

    def iterate(self, batch: Any) -> None:  # noqa: ANN401 -- the benchmark's batch
        """Attack, classify, count, and step."""
        logits = self.network(self.attacked(batch), timesteps=batch.timestep)
        loss = F.cross_entropy(logits, batch.label, reduction="none")
        for k in (1, 5):
            self.script.compute_top_k(logits, batch.label, k=k, reduction="none")
        self.trainer.zero_grad()
        self.trainer.backward(loss.mean())
        self.trainer.optimize(self.optimizer)
