"""What opening a study freezes: one JSON text that says all that decides the study, and depends on nothing else."""

import dataclasses
import hashlib
import json
from typing import Any

from .models import Pair, Study
from .quality import parse_rules

FORMAT = 1

DEFINITION = (
    "title",
    "question",
    "pairs_per_rater",
    "raters_per_pair",
    "practice_trials",
    "same_catches",
    "noise_catches",
    "repeats",
    "trial_limit_s",
    "session_limit_s",
    "lease_s",
    "language",
    "consent_text",
    "instructions",
    "thanks_text",
    "access",
    "panel",
    "panel_ids",
    "completion_code",
    "completion_url",
    "screen_out_code",
    "screen_out_url",
    "screen_out_after",
    "rules",
    "analysis_plan",
    "interim_results",
)
"""The fields of a study that are frozen with it."""

SECRET = ("completion_code", "screen_out_code")
"""Of these the plan holds a digest: whoever reads an export need not learn how raters are paid."""


def plan_document(study: Study) -> str:
    """Return the study's plan as JSON with sorted keys: equal studies give equal texts."""
    definition = {name: getattr(study, name) for name in DEFINITION}
    for name in SECRET:
        definition[name] = hashlib.sha256(definition[name].encode()).hexdigest() if definition[name] else ""
    definition["rules"] = dataclasses.asdict(parse_rules(study.rules))
    document = {
        "format": FORMAT,
        "slug": study.slug,
        "previous": study.previous.slug if study.previous else None,
        "definition": definition,
        "arms": {arm.name: _run(arm.run) for arm in study.arms.select_related("run")},
        "pairs": _pairs_digest(study),
    }
    return json.dumps(document, sort_keys=True, ensure_ascii=False, indent=1)


def _run(run: Any) -> dict[str, Any]:  # noqa: ANN401 (a GenerationRun)
    return {"pairs": run.name, "preset": run.preset, "settings": run.settings}


def _pairs_digest(study: Study) -> dict[str, Any]:
    """Return how many pairs there are and one sha256 over their lines: index, class, and arm and sha256 of both."""
    digest, count = hashlib.sha256(), 0
    rows = (
        Pair.objects.filter(study=study)
        .order_by("index", "first_arm__name", "second_arm__name")
        .values_list(
            "index",
            "class_name",
            "first_arm__name",
            "first_image__sha256",
            "second_arm__name",
            "second_image__sha256",
        )
    )
    for row in rows.iterator():
        digest.update((json.dumps(row, ensure_ascii=False) + "\n").encode())
        count += 1
    return {"count": count, "sha256": digest.hexdigest()}
