"""All metrics of one arm's images, and the differences of two arms."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from analysis.metrics.errors import MetricsError
from analysis.metrics.estimates import Difference, Estimate
from analysis.metrics.extrapolation import Extrapolation, frechet_infinity
from analysis.metrics.features import Extractor, Features
from analysis.metrics.frechet import Gaussian, fit, frechet_estimate
from analysis.metrics.inception_score import inception_score
from analysis.metrics.kernel import kernel_distance
from analysis.metrics.neighbours import neighbourhood_metrics
from analysis.metrics.references import Reference

NEIGHBOURS = ("precision", "recall", "density", "coverage")
METRICS = ("fid", "sfid", "kid", *NEIGHBOURS, "inception_score", "fid_infinity")
LOWER_IS_BETTER = frozenset({"fid", "sfid", "kid", "fid_infinity"})
BOUNDS: Mapping[str, tuple[float, float]] = {
    "fid": (0, float("inf")),
    "sfid": (0, float("inf")),
    "density": (0, float("inf")),
    "inception_score": (1, float("inf")),
}
SHARES = frozenset({"precision", "recall", "coverage"})
NO_IMAGES = "the reference holds statistics and no images"
ASSUMES: Mapping[str, str] = {
    "fid": "Features are compared by means and covariances only. FID falls as images are added: compare equal counts.",
    "sfid": "As fid, of spatial features.",
    "kid": "Unbiased, over all pairs of images; it may be negative.",
    "precision": "The share of generated images within reach of a reference image; ≤ counts as within.",
    "recall": "The share of reference images within reach of a generated image; ≤ counts as within.",
    "density": "How many reference images reach a generated one, over k; it may exceed 1.",
    "coverage": "The share of reference images whose reach holds a generated one; see expected_coverage.",
    "inception_score": "Needs no reference; it depends on the order of the images through its splits.",
    "fid_infinity": "FID continued to infinitely many generated images by a line over 1 / count; the bias by the "
    "reference's count stays.",
    "errors": "Standard errors to first order, from each image's influence, images taken as independent draws. They "
    "say how far the value is from its expectation at this count, and nothing of its bias. Those of precision, recall, "
    "density and coverage take the neighbourhoods as given. Intervals are normal; Wilson's for precision, recall and "
    "coverage.",
    "differences": "First arm less second, against the same reference images; matched arms' images are subtracted "
    "pair by pair, so that what a seed gives to both falls out.",
}


@dataclass(frozen=True)
class Settings:
    """What else decides the values.

    Attributes:
        metrics: which, of METRICS.
        k: of precision and recall.
        density_k: of density and coverage.
        seed: decides FID∞'s subsets.
    """

    metrics: Collection[str] = METRICS
    k: int = 3
    density_k: int = 5
    seed: int = 0


@dataclass
class ArmMetrics:
    """One arm's metrics, gathered one by one.

    Attributes:
        count: generated images.
        estimates: by metric.
        extrapolation: FID∞'s line.
        unavailable: why a metric is not there, by metric.
        warnings: what the reader must know.
    """

    count: int
    estimates: dict[str, Estimate] = field(default_factory=dict)
    extrapolation: Extrapolation | None = None
    unavailable: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def evaluate(generated: Features, reference: Reference, extractor: Extractor, settings: Settings) -> ArmMetrics:
    """Compute the metrics that are asked for, or say why one cannot be had.

    Raises:
        MetricsError: The features do not belong together.
    """
    if generated.pool.shape[1] != len(reference.pool.mean):
        raise MetricsError(
            f"{reference.path} is of {len(reference.pool.mean)} dimensions, --features {extractor.name} gives "
            f"{generated.pool.shape[1]}: take the reference that belongs to it."
        )
    result = ArmMetrics(len(generated))
    _warn_of_few(result, generated, reference)
    pool = fit(generated.pool) if {"fid", "fid_infinity"} & set(settings.metrics) else None
    steps: dict[str, Callable[[], Estimate]] = {
        "fid": lambda: frechet_estimate(_known(pool), reference.pool),
        "sfid": lambda: _spatial(generated, reference, extractor),
        "kid": lambda: kernel_distance(generated.pool, _images(reference).pool),
        "inception_score": lambda: _score(generated, extractor),
    }
    for name in settings.metrics:
        if name in steps:
            _enter(result, name, steps[name])
    if set(NEIGHBOURS) & set(settings.metrics):
        _enter_neighbours(result, generated, reference, settings)
    if "fid_infinity" in settings.metrics:
        _enter_infinity(result, generated, reference, settings)
    return result


class _Unavailable(Exception):
    """A metric cannot be had, for the reason that is the message."""


def _known(gaussian: Gaussian | None) -> Gaussian:
    if gaussian is None:
        raise _Unavailable("it was not asked for")
    return gaussian


def _images(reference: Reference) -> Features:
    if reference.features is None:
        raise _Unavailable(NO_IMAGES)
    return reference.features


def _enter(result: ArmMetrics, name: str, compute: Callable[[], Estimate]) -> None:
    try:
        result.estimates[name] = compute()
    except _Unavailable as error:
        result.unavailable[name] = str(error)


def _spatial(generated: Features, reference: Reference, extractor: Extractor) -> Estimate:
    if generated.spatial is None:
        raise _Unavailable(f"--features {extractor.name} has no spatial features")
    if reference.spatial is None:
        raise _Unavailable("the reference holds no statistics of spatial features")
    return frechet_estimate(fit(generated.spatial), reference.spatial)


def _score(generated: Features, extractor: Extractor) -> Estimate:
    if extractor.logits is None:
        raise _Unavailable(f"--features {extractor.name} has no class scores")
    return inception_score(extractor.logits(generated.pool))


def _enter_neighbours(result: ArmMetrics, generated: Features, reference: Reference, settings: Settings) -> None:
    wanted = [name for name in NEIGHBOURS if name in settings.metrics]
    if reference.features is None:
        result.unavailable.update(dict.fromkeys(wanted, NO_IMAGES))
        return
    fewest, most = min(len(generated), len(reference.features)), max(settings.k, settings.density_k)
    if fewest <= most:
        reason = f"the {most}. nearest neighbour needs more than {most} images in each set, one has {fewest}"
        result.unavailable.update(dict.fromkeys(wanted, reason))
        return
    found = neighbourhood_metrics(generated.pool, reference.features.pool, k=settings.k, density_k=settings.density_k)
    result.estimates.update({name: getattr(found, name) for name in wanted})


def _enter_infinity(result: ArmMetrics, generated: Features, reference: Reference, settings: Settings) -> None:
    line = frechet_infinity(generated.pool, reference.pool, seed=settings.seed)
    if line is None:
        result.unavailable["fid_infinity"] = (
            f"{len(generated)} images are too few for {generated.pool.shape[1]} dimensions: it takes four times as many"
        )
        return
    result.extrapolation = line
    result.estimates["fid_infinity"] = Estimate(line.value)


def _warn_of_few(result: ArmMetrics, generated: Features, reference: Reference) -> None:
    dimensions = generated.pool.shape[1]
    for whose, count in (("generated", len(generated)), ("reference", reference.count or dimensions + 1)):
        if count <= dimensions:
            result.warnings.append(
                f"There are {count} {whose} images for {dimensions} feature dimensions: their covariance has no full "
                "rank, and FID is far above what many images would give. Compare it with the same count only."
            )


def differences(first: ArmMetrics, second: ArmMetrics, *, matched: bool) -> dict[str, Difference]:
    """Return first less second for each metric that both have."""
    return {
        name: estimate.minus(second.estimates[name], matched=matched)
        for name, estimate in first.estimates.items()
        if name in second.estimates
    }
