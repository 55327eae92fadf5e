"""The Inception score: how sure a classifier is of each image, and how varied its answers are."""

import torch
from torch import Tensor

from analysis.metrics.errors import MetricsError
from analysis.metrics.estimates import Estimate

SPLIT = 5000


def inception_score(logits: Tensor, split: int = SPLIT) -> Estimate:
    """Return exp of the mean divergence of p(label given image) from p(label), averaged over splits.

    T. Salimans et al., *Improved Techniques for Training GANs*, 2016. Splits are of consecutive images, as the
    published evaluators cut them: arms of different sizes are not comparable unless both have whole splits. To first
    order the score's logarithm has the images' own divergences as influences.

    Args:
        logits: (N, classes), N at least 1.
        split: images a split.

    Raises:
        MetricsError: There is no image.
    """
    if not len(logits):
        raise MetricsError("The Inception score needs at least 1 image: give more.")
    scores, influences = [], []
    for part in torch.split(logits, split):
        log_p = part.double().log_softmax(1)
        p = log_p.exp()
        divergence = (p * (log_p - p.mean(0).clamp_min(torch.finfo(torch.float64).tiny).log())).sum(1)
        score = divergence.mean().exp()
        scores.append(score)
        # The mean over splits weighs each split alike, so the last, shorter one's images weigh more.
        influences.append(score * divergence * (len(logits) / (len(part) * -(-len(logits) // split))))
    # What differs between splits' levels is no error of any image's.
    centred = [influence - influence.mean() for influence in influences]
    return Estimate(float(torch.stack(scores).mean()), torch.cat(centred))
