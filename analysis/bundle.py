"""A bundle that a reader can rerun: anonymised answers, what made the report, and how it was made, in words."""

import hashlib
import io
import json
import platform
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import pandas as pd

from analysis.answers import write_csv
from analysis.report import Report
from analysis.wording import verdict

PACKAGES = ("numpy", "scipy", "pandas")
COMMAND = "python manage.py export_report --answers answers.csv --output report --formats html,json,csv,latex"
# A zip file has a time for each of its files; the bundle of the same answers is always the same.
EPOCH = (1980, 1, 1, 0, 0, 0)
CITATIONS = (
    "B. Kawar, R. Ganz, M. Elad. Enhancing diffusion-based image synthesis with robust classifier guidance. TMLR 2023.",
    "A. C. Cameron, J. B. Gelbach, D. L. Miller. Robust inference with multiway clustering. JBES 29, 2011.",
    "R. M. Bell, D. F. McCaffrey. Bias reduction in standard errors with multi-stage samples. Surv. Meth. 28, 2002.",
    "K. Gao, A. B. Owen. Moment calculations for variance components in crossed random effects models. EJS 11, 2017.",
    "A. B. Owen. The pigeonhole bootstrap. Annals of Applied Statistics 1, 2007.",
    "R. G. Newcombe. Two-sided confidence intervals for the single proportion. Statistics in Medicine 17, 1998.",
    "P. H. Westfall, S. S. Young. Resampling-based multiple testing. Wiley, 1993.",
    "S. Holm. A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6, 1979.",
    "D. Bates, M. Mächler, B. Bolker, S. Walker. Fitting linear mixed-effects models using lme4. JSS 67, 2015.",
    "R. R. Davidson. On extending the Bradley-Terry model to accommodate ties. JASA 65, 1970.",
    "P. V. Rao, L. L. Kupper. Ties in paired-comparison experiments. JASA 62, 1967.",
    "K. Krippendorff. Computing Krippendorff's alpha-reliability. 2011.",
    "I. Waudby-Smith, A. Ramdas. Estimating means of bounded random variables by betting. JRSS B 86, 2024.",
)  # fmt: skip


@dataclass(frozen=True)
class Origin:
    """Where a bundle's answers come from.

    Attributes:
        title: What the answers are of.
        plan: The sha256 under which the study's plan was frozen; None if it was not, or is not known.
        seeds: Per arm, what the images were made from.
        thresholds: As `--thresholds` takes them.
        confidence: Of the intervals.
    """

    title: str
    plan: str | None
    seeds: Mapping[str, str]
    thresholds: str
    confidence: float


def anonymise(frame: pd.DataFrame) -> pd.DataFrame:
    """Return answers that say no more of raters than the report needs.

    Raters are called by number, in the order of their last answers, and times are cut to the day. Nothing else is
    changed, and no answer is left out.
    """
    if frame.empty:
        return frame
    rater, names = pd.factorize(frame["rater"], sort=True)
    order = np.arange(len(names))
    known = "answered_at" in frame and bool(frame["answered_at"].notna().all())
    if known:
        order = np.argsort(frame["answered_at"].groupby(rater).max().sort_index().to_numpy(), kind="stable")
    number = np.empty(len(names), dtype=np.intp)
    number[order] = np.arange(1, len(names) + 1)
    digits = len(str(len(names)))
    called = np.array([f"r{place:0{digits}}" for place in number], dtype=object)
    anonymous = frame.assign(rater=pd.Series(called[rater], index=frame.index, dtype=str))
    if "answered_at" in frame:
        anonymous["answered_at"] = frame["answered_at"].dt.floor("D").astype("datetime64[us, UTC]")
    return anonymous.sort_values(["rater", "pair"], kind="stable").reset_index(drop=True)


def make_bundle(frame: pd.DataFrame, report: Report, files: Mapping[str, str], origin: Origin) -> bytes:
    """Return the bundle as a zip file; the same answers make the same bytes.

    Args:
        frame: Answers, anonymised already.
        report: Their report.
        files: The report's files, name to text.
        origin: Where the answers come from.
    """
    texts = {"answers.csv": write_csv(frame), **{f"report/{name}": text for name, text in files.items()}}
    manifest = {
        "title": origin.title,
        "plan_sha256": origin.plan,
        "image_seeds": dict(origin.seeds),
        "bootstrap_seed": report.seed,
        "thresholds": origin.thresholds,
        "confidence": origin.confidence,
        "command": command(origin),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "sha256": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in sorted(texts.items())},
    }
    texts |= {
        "manifest.json": json.dumps(manifest, indent=2, ensure_ascii=False) + "\n",
        "README.md": readme(report, origin),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sorted(texts.items()):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), text.encode(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def command(origin: Origin) -> str:
    """Return the command that makes the report's files anew from the bundle's answers."""
    return f"{COMMAND} --thresholds {origin.thresholds} --confidence {origin.confidence:g}"


def readme(report: Report, origin: Origin) -> str:
    """Return what the bundle is, what it found, how, and how to run it again."""
    found = "\n\n".join(verdict(comparison) for comparison in report.comparisons) or "There are no answers."
    references = "\n".join(f"{place}. {entry}" for place, entry in enumerate(CITATIONS, start=1))
    return f"""# {origin.title}

{found}

## To run it again

With Sameseed and the versions of `manifest.json`, in the folder of this bundle's files:

    {command(origin)}

`answers.csv` holds every answer; raters are numbered and times are cut to the day. `report/` is what the command
makes of them, but for the title and notes.

## Methods

{methods(report)}

## References

{references}
"""


def methods(report: Report) -> str:
    """Return the methods as a paragraph for a paper."""
    level = f"{100 * report.confidence:g}%"
    return (
        f"{report.raters:,} raters gave {report.answers:,} answers on {report.pairs:,} image pairs. The share of the "
        f"answers that chose a side is given with a {level} interval and a two-sided test that allow for both raters "
        "and pairs: the two-way clustered sandwich [2] with a bias correction and Satterthwaite degrees of freedom "
        "under a working model of three variance components [3, 4], beside the two-way bootstrap [5] and the exact "
        "binomial test with Wilson's interval [6], which takes answers as independent. A pair prefers a method at a "
        "threshold if more than that share of the raters who chose a side chose it [1]; intervals come from drawing "
        "the pairs anew, and thresholds are tested together by the bootstrap of the largest statistic [7] and by "
        "Holm's procedure [8]. A crossed mixed logistic model of raters and pairs was fitted by the Laplace "
        "approximation [9], models with ties by maximum likelihood [10, 11]. Agreement is Krippendorff's alpha [12]; "
        "the always-valid interval is by betting [13]. Bootstraps used the seed "
        f"{report.seed}."
    )
