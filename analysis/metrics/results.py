"""What was measured as plain values: the JSON of compute_metrics."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

from analysis.metrics.estimates import Difference, Estimate, interval, share_interval
from analysis.metrics.evaluation import ASSUMES, BOUNDS, SHARES, ArmMetrics, Settings, differences
from analysis.metrics.features import Extractor
from analysis.metrics.neighbours import expected_coverage
from analysis.metrics.references import Reference

PACKAGES = ("torch", "numpy", "scipy", "pillow")


@dataclass(frozen=True)
class Arm:
    """A measured set of generated images.

    Attributes:
        name: what the tables call it.
        path: where the images were.
        metrics: what was measured.
        names: of its images, which pair them with another arm's; None pairs them by position.
        sweep: the value on a sweep's axis; None outside of one.
    """

    name: str
    path: Path
    metrics: ArmMetrics
    names: tuple[str, ...] | None = None
    sweep: float | None = None


def are_pairs(first: Arm, second: Arm) -> bool:
    """Tell whether two arms' images can be subtracted one by one: as many, and of the same names where they have any.

    Pairing images that share nothing does no harm: it only saves nothing.
    """
    return first.metrics.count == second.metrics.count and first.names == second.names


def to_dict(
    arms: Sequence[Arm], reference: Reference, extractor: Extractor, settings: Settings, *, confidence: float
) -> dict[str, Any]:
    """Return the result as strict JSON's values; with one arm its values and errors also stand on the top level."""
    pairs = [
        (first, second) for first, second in combinations(arms, 2) if first.sweep is None or first.sweep == second.sweep
    ]
    return assemble(arms, pairs, circumstances(reference, extractor, settings), confidence=confidence)


def circumstances(reference: Reference, extractor: Extractor, settings: Settings) -> dict[str, Any]:
    """Return what the values depend on besides the images, and with what they were computed, as JSON's values."""
    return {
        "reference": {
            "path": str(reference.path),
            "count": reference.count,
            "statistics": reference.statistics,
        },
        "protocol": {
            "name": extractor.protocol.name,
            "resizing": extractor.protocol.resizing,
            "pixels": extractor.protocol.pixels,
            "precision": str(extractor.precision).removeprefix("torch."),
            "k": settings.k,
            "density_k": settings.density_k,
            "seed": settings.seed,
        },
        "features": {
            "name": extractor.name,
            "dimensions": len(reference.pool.mean),
            "spatial_dimensions": len(reference.spatial.mean) if reference.spatial else None,
            "weights": str(extractor.weights),
            "weights_sha256": extractor.weights_sha256,
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }


def assemble(
    arms: Sequence[Arm],
    pairs: Iterable[tuple[Arm, Arm]],
    circumstances: Mapping[str, Any],
    *,
    confidence: float,
) -> dict[str, Any]:
    """Return measured arms and differences as strict JSON's values.

    Args:
        arms: all of them measured under these circumstances.
        pairs: the arms to subtract, second from first.
        circumstances: see there.
        confidence: of the intervals.
    """
    protocol = circumstances["protocol"]
    listed = {
        _key(arm): _arm(arm, circumstances["reference"]["count"], protocol["density_k"], confidence) for arm in arms
    }
    head = next(iter(listed.values())) if len(listed) == 1 else None
    measured = {name for arm in arms for name in arm.metrics.estimates}
    return {
        **({"values": head["values"], "errors": head["errors"]} if head else {}),
        "arms": listed,
        "differences": [_difference(first, second, confidence) for first, second in pairs],
        **circumstances,
        "protocol": {**protocol, "confidence": confidence},
        "assumes": {name: text for name, text in ASSUMES.items() if name in measured | {"errors", "differences"}},
    }


def _key(arm: Arm) -> str:
    return arm.name if arm.sweep is None else f"{arm.name}@{arm.sweep:.12g}"


def _arm(arm: Arm, reference_count: int | None, density_k: int, confidence: float) -> dict[str, Any]:
    estimates = arm.metrics.estimates
    result: dict[str, Any] = {
        "path": str(arm.path),
        "count": arm.metrics.count,
        "values": {name: estimate.value for name, estimate in estimates.items()},
        "errors": {name: estimate.standard_error for name, estimate in estimates.items()},
        "intervals": {name: _interval(name, estimate, confidence) for name, estimate in estimates.items()},
        "unavailable": arm.metrics.unavailable,
        "warnings": arm.metrics.warnings,
    }
    if arm.sweep is not None:
        result |= {"arm": arm.name, "sweep": arm.sweep}
    if arm.metrics.extrapolation:
        line = arm.metrics.extrapolation
        result["fid_infinity"] = {"counts": list(line.counts), "distances": list(line.distances)}
    if "coverage" in estimates and reference_count:
        result["expected_coverage"] = expected_coverage(arm.metrics.count, reference_count, density_k)
    return result


def _interval(name: str, estimate: Estimate, confidence: float) -> list[float] | None:
    if estimate.standard_error is None:
        return None
    if name in SHARES:
        return list(share_interval(estimate, confidence))
    low, high = interval(estimate.value, estimate.standard_error, confidence)
    least, most = BOUNDS.get(name, (float("-inf"), float("inf")))
    return [max(low, least), min(high, most)]


def _difference(first: Arm, second: Arm, confidence: float) -> dict[str, Any]:
    matched = are_pairs(first, second)
    found: Mapping[str, Difference] = differences(first.metrics, second.metrics, matched=matched)
    return {
        "first": _key(first),
        "second": _key(second),
        "matched": matched,
        "values": {name: difference.value for name, difference in found.items()},
        "errors": {name: difference.standard_error for name, difference in found.items()},
        "intervals": {
            name: None
            if difference.standard_error is None
            else list(interval(difference.value, difference.standard_error, confidence))
            for name, difference in found.items()
        },
    }
