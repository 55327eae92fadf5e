"""The admin's own pages for studies: making one, changing a draft, and the dashboard."""

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from .admin_forms import DraftForm, NewStudyForm
from .models import Study
from .monitoring import dashboard
from .selectors import plan_of, told_arms

SECTIONS = (
    ("Study", ("slug", "pairs_name", "compare", "opened", "title", "question")),
    ("Trials", ("pairs_per_rater", "raters_per_pair", "practice_trials", "same_catches", "noise_catches", "repeats")),
    ("Time", ("trial_limit_s", "session_limit_s", "lease_s")),
    ("Texts", ("language", "consent_text", "instructions", "thanks_text")),
    (
        "Raters",
        (
            "access",
            "panel",
            "panel_ids",
            "completion_code",
            "completion_url",
            "screen_out_code",
            "screen_out_url",
            "screen_out_after",
        ),
    ),
    ("Analysis", ("rules", "analysis_plan", "interim_results")),
)


@never_cache
def new_study(request: HttpRequest) -> HttpResponse:
    """Make a study."""
    if not request.user.has_perm("survey.add_study"):
        raise PermissionDenied
    form = NewStudyForm(request.POST or None)
    if request.method == "POST" and form.is_valid() and (study := form.create()) is not None:
        messages.success(request, f"Study '{study.slug}' is {study.status}.")
        _warn_of_told_arms(request, study)
        return redirect("admin:survey_study_change", study.pk)
    return _form_page(request, form, title="Make a study", button="Make it")


@never_cache
def change_draft(request: HttpRequest, pk: int) -> HttpResponse:
    """Change a draft; what is frozen is refused in a line."""
    if not request.user.has_perm("survey.change_study"):
        raise PermissionDenied
    study = get_object_or_404(Study, pk=pk)
    form = DraftForm(request.POST or None, instance=study)
    if request.method == "POST" and form.is_valid() and form.update() is not None:
        messages.success(request, f"Study '{study.slug}' is changed.")
        _warn_of_told_arms(request, study)
        return redirect("admin:survey_study_change", study.pk)
    return _form_page(request, form, title=f"Change draft '{study.slug}'", button="Change it")


def _warn_of_told_arms(request: HttpRequest, study: Study) -> None:
    for arm, place in told_arms(study):
        messages.warning(request, f"Raters can read the arm's name '{arm}' in the study's {place}: they are not blind.")


def _form_page(request: HttpRequest, form: NewStudyForm | DraftForm, *, title: str, button: str) -> HttpResponse:
    sections = [(name, [form[field] for field in fields if field in form.fields]) for name, fields in SECTIONS]
    context = {**admin.site.each_context(request), "title": title, "form": form, "button": button}
    status = 400 if form.errors else 200
    return render(request, "survey/admin/study_form.html", {**context, "sections": sections}, status=status)


@require_safe
@never_cache
def dashboard_page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show how a study runs; nothing of preferences."""
    if not request.user.has_perm("survey.view_study"):
        raise PermissionDenied
    study = get_object_or_404(Study, pk=pk)
    board = dashboard(study)
    context = {
        **admin.site.each_context(request),
        "title": f"Dashboard of '{study.slug}'",
        "study": study,
        "plan": plan_of(study),
        "board": board,
        "most_answers": max((answers for _, answers, _ in board.over_time), default=0),
        "most_pairs": max((pairs for _, pairs in board.answers_per_pair), default=0),
        "most_dropouts": max((raters for _, raters in board.dropout), default=0),
        "link": request.build_absolute_uri(reverse("survey:landing", args=[study.slug])),
    }
    return render(request, "survey/admin/dashboard.html", context)
