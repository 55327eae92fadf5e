"""The time-dependent classifier h(x_t, t) that guides the diffusion: an encoder with attention pooling."""

from torch import Tensor, nn

from generation.diffusion.encoder import Shape, build_encoder
from generation.diffusion.layers import AttentionPool, GroupNorm32, time_mlp, timestep_embedding
from generation.presets import Preset


class TimeClassifier(nn.Module):
    """Classify noisy images, knowing how noisy they are (Section 4.2 of the paper)."""

    def __init__(self, shape: Shape, *, classes: int, head_channels: int) -> None:
        super().__init__()
        self.width = shape.width
        self.time_embed = time_mlp(shape.width)
        encoder = build_encoder(shape)
        self.input_blocks = encoder.blocks
        self.middle_block = shape.middle(encoder.channels)
        self.out = nn.Sequential(
            GroupNorm32(encoder.channels),
            nn.SiLU(),
            AttentionPool(encoder.size, encoder.channels, head_channels, classes),
        )

    def forward(self, x_t: Tensor, timestep: Tensor) -> Tensor:
        """Classify.

        Args:
            x_t: (N, C, H, W) noisy images.
            timestep: (N,) original timesteps, 0 to T - 1.

        Returns:
            (N, classes) float32 logits.
        """
        embedding = self.time_embed(timestep_embedding(timestep, self.width))
        h = x_t
        for block in self.input_blocks:
            h = block(h, embedding)
        logits: Tensor = self.out(self.middle_block(h, embedding))
        return logits.float()


def build_classifier(preset: Preset) -> TimeClassifier:
    """Return the preset's classifier with fresh weights (torch's global generator draws them)."""
    image, classifier = preset.image, preset.classifier
    shape = Shape(
        size=image.size,
        channels=image.channels,
        width=classifier.width,
        channel_mult=classifier.channel_mult,
        res_blocks=classifier.depth,
        attention_resolutions=classifier.attention_resolutions,
        heads=None,
        head_channels=classifier.head_channels,
        scale_shift_norm=classifier.scale_shift_norm,
        resblock_updown=classifier.resblock_updown,
        dropout=0.0,
    )
    return TimeClassifier(shape, classes=image.classes, head_channels=classifier.head_channels)
