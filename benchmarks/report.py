"""How long does the full report take, and how much memory, as the answers grow from a thousand to a million?

Each size runs in a process of its own, which makes the answers, and then times the report on them: the frame to the
frozen value, and that to HTML, JSON and CSV. Prints a table in Markdown; the last column is the time over that of the
first row.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np
import pandas as pd
from scipy.special import expit

# Answers, raters, pairs.
SIZES = ((1_000, 25, 40), (5_018, 36, 200), (10_000, 100, 200), (100_000, 1_000, 1_000), (1_000_000, 10_000, 2_000))


def make_answers(answers: int, raters: int, pairs: int, seed: int = 0) -> pd.DataFrame:
    """Return a study of 27 % ties, pair SD 1.07 and rater SD 0.3, with times, positions and classes."""
    rng = np.random.default_rng(seed)
    each = np.full(raters, answers // raters)
    each[: answers - each.sum()] += 1
    rater = np.repeat(np.arange(raters), each)
    pair = np.concatenate([rng.choice(pairs, size, replace=False) for size in each])
    position = np.concatenate([np.arange(1, size + 1) for size in each])
    effect = 0.3 + 0.3 * rng.standard_normal(raters)[rater] + 1.07 * rng.standard_normal(pairs)[pair]
    first, left = rng.random(answers) < expit(effect), rng.random(answers) < 0.5
    choice = np.where(rng.random(answers) < 0.27, "same", np.where(first == left, "left", "right"))
    start = np.datetime64("2024-05-06T07:00:00", "us") + rater * np.timedelta64(60, "s")
    return pd.DataFrame({
        "rater": pd.Series(rater).map({code: f"r{code}" for code in range(raters)}).astype(str),
        "pair": pd.Series(pair).map({code: str(code) for code in range(pairs)}).astype(str),
        "left_arm": pd.Series(np.where(left, "robust", "vanilla"), dtype=str),
        "right_arm": pd.Series(np.where(left, "vanilla", "robust"), dtype=str),
        "choice": pd.Series(choice, dtype=str),
        "answered_at": pd.Series(start + position * np.timedelta64(7, "s")).dt.tz_localize("UTC"),
        "response_ms": pd.Series(rng.integers(600, 9000, answers)).astype("Int64"),
        "position": pd.Series(position).astype("Int64"),
        "class_name": pd.Series(pair % 100).map({code: f"class {code}" for code in range(100)}).astype(str),
    })  # fmt: skip


def measure(size: tuple[int, int, int]) -> dict[str, float]:
    """Return the seconds and the process's largest memory, in MiB, for one size."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django  # noqa: PLC0415 - the settings must be named first

    django.setup()
    from analysis.rendering import render_files  # noqa: PLC0415
    from analysis.report import build_report  # noqa: PLC0415

    frame = make_answers(*size)
    start, used = time.perf_counter(), time.process_time()
    report = build_report(frame, progress=lambda _share, what: tell(what, start))
    built = time.perf_counter()
    tell("rendering", start)
    render_files(report)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "build": built - start,
        "render": time.perf_counter() - built,
        "processor": time.process_time() - used,
        "memory": memory,
    }


def tell(what: str, start: float) -> None:
    """Print what is done next, and when."""
    print(f"{time.perf_counter() - start:7.1f} s  {what}", file=sys.stderr, flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, nargs="+", default=[size[0] for size in SIZES], help="sizes to run")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = {size[0]: size for size in SIZES}
    if options.one:
        print(json.dumps(measure(sizes[options.one])))
        return
    unknown = set(options.answers) - set(sizes)
    if unknown:
        parser.error(f"no size of {min(unknown)} answers; choose from {', '.join(map(str, sizes))}")
    print(
        "| answers | raters | pairs | report, s | files, s | processor, s | memory, MiB | time over the first row's |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    first = None
    for answers in options.answers:
        command = [sys.executable, "-m", "benchmarks.report", "--one", str(answers)]
        found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        total = found["build"] + found["render"]
        first = first or total
        print(
            f"| {answers:,} | {sizes[answers][1]:,} | {sizes[answers][2]:,} | {found['build']:.1f} "
            f"| {found['render']:.1f} | {found['processor']:.1f} | {found['memory']:.0f} | {total / first:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
