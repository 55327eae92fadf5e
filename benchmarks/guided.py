"""The published guided-diffusion code, from a checkout, made to sample a batch that is given.

Its sampling lies in a script's `main`, together with its arguments, its several processes and its files; so what the
script does is done here: with its networks, its diffusion, its loop, and a guidance as the script has it.
"""

import importlib
import sys
import types
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from generation.presets import Preset

# Of which the networks and the loop need no more than that they can be imported: remote files, and several processes.
UNUSED = ("blobfile", "mpi4py")
Arm = tuple[dict[str, Tensor], float]


def import_guided(folder: Path) -> tuple[types.ModuleType, types.ModuleType]:
    """Return the networks and the makers of a checkout."""
    if not (folder / "guided_diffusion" / "script_util.py").is_file():
        raise SystemExit(
            f"{folder} holds no guided_diffusion/script_util.py: give a checkout of openai/guided-diffusion."
        )
    for name in UNUSED:
        module = types.ModuleType(name)
        module.MPI = None  # type: ignore[attr-defined]
        sys.modules.setdefault(name, module)
    sys.path.insert(0, str(folder.resolve()))
    return (
        importlib.import_module("guided_diffusion.unet"),
        importlib.import_module("guided_diffusion.script_util"),
    )


class PublishedSampling:
    """Guided sampling by the published code: one run after the other, one for each arm."""

    def __init__(
        self,
        folder: Path,
        preset: Preset,
        unet: dict[str, Tensor],
        arms: Sequence[Arm],
        *,
        device: torch.device,
        half: bool,
    ) -> None:
        self.networks, self.makers = import_guided(folder)
        self.preset, self.device, self.half = preset, device, half
        self.unet = self._ready(self._unet(), unet)
        self.arms = [(self._ready(self._classifier(), weights), scale) for weights, scale in arms]

    def _ready(self, network: Any, weights: dict[str, Tensor]) -> Any:  # noqa: ANN401 -- the published class
        """Prepare a network as the script does."""
        network.load_state_dict(weights)
        network.to(self.device)
        if self.half:
            network.convert_to_fp16()
        return network.eval()

    def _unet(self) -> Any:  # noqa: ANN401 -- the published class
        image, shape = self.preset.image, self.preset.diffusion
        return self.networks.UNetModel(
            image_size=image.size,
            in_channels=image.channels,
            model_channels=shape.width,
            out_channels=image.channels * (2 if shape.learn_sigma else 1),
            num_res_blocks=shape.res_blocks,
            attention_resolutions=tuple(image.size // side for side in shape.attention_resolutions),
            dropout=shape.dropout,
            channel_mult=shape.channel_mult,
            num_classes=image.classes if shape.class_conditional else None,
            use_fp16=self.half,
            num_heads=shape.heads or -1,
            num_head_channels=shape.head_channels or -1,
            use_scale_shift_norm=shape.scale_shift_norm,
            resblock_updown=shape.resblock_updown,
        )

    def _classifier(self) -> Any:  # noqa: ANN401 -- the published class
        image, shape = self.preset.image, self.preset.classifier
        return self.networks.EncoderUNetModel(
            image_size=image.size,
            in_channels=image.channels,
            model_channels=shape.width,
            out_channels=image.classes,
            num_res_blocks=shape.depth,
            attention_resolutions=tuple(image.size // side for side in shape.attention_resolutions),
            channel_mult=shape.channel_mult,
            num_head_channels=shape.head_channels,
            use_fp16=self.half,
            use_scale_shift_norm=shape.scale_shift_norm,
            resblock_updown=shape.resblock_updown,
            pool="attention",
        )

    def sample(self, label: Tensor, respacing: str, streams: Sequence[Callable[[], Tensor]] | None = None) -> Tensor:
        """Return (A, N, C, H, W) images; `streams` give each arm's noise in place of its own: x_T, then each step's."""
        arms = [
            self._sample(arm, label, respacing, None if streams is None else streams[place])
            for place, arm in enumerate(self.arms)
        ]
        return torch.stack(arms)

    def _sample(self, arm: Any, label: Tensor, respacing: str, draw: Callable[[], Tensor] | None) -> Tensor:  # noqa: ANN401 -- the published class
        (classifier, scale), image, shape = arm, self.preset.image, self.preset.diffusion
        diffusion = self.makers.create_gaussian_diffusion(
            steps=self.preset.schedule.timesteps, learn_sigma=shape.learn_sigma, timestep_respacing=respacing
        )

        def guide(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
            with torch.enable_grad():
                x_in = x.detach().requires_grad_()
                chosen = F.log_softmax(classifier(x_in, t), dim=-1)[range(len(y)), y.view(-1)]
                gradient: Tensor = torch.autograd.grad(chosen.sum(), x_in)[0] * scale
                return gradient

        def predict(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
            out: Tensor = self.unet(x, t, y if shape.class_conditional else None)
            return out

        # It draws with torch's generator; in its place comes the noise that is given.
        given = nullcontext() if draw is None else patch.object(torch, "randn_like", lambda x: draw().to(x.device))
        with given:
            images: Tensor = diffusion.p_sample_loop(
                predict,
                (len(label), image.channels, image.size, image.size),
                noise=None if draw is None else draw().to(self.device),
                clip_denoised=True,
                model_kwargs={"y": label},
                cond_fn=guide,
                device=self.device,
            )
        return images
