"""The report's pages: read-only, for staff.

With `?raters=simulated` a page is about a dry run's simulated raters, and about them alone.
"""

from collections.abc import Callable

from django.contrib.admin.views.decorators import staff_member_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from analysis.answers import AnswersError, write_csv
from analysis.frames import responses
from analysis.rendering import render_json
from analysis.sections import context
from analysis.selectors import studies_with_counts, study_report
from survey.models import Study
from survey.services import record_peek

View = Callable[..., HttpResponse]


def staff_page(view: View) -> View:
    """Let only staff read the page, send others to the admin's login, and keep it out of caches."""
    return require_safe(never_cache(staff_member_required(view)))


def _simulated(request: HttpRequest) -> bool:
    return request.GET.get("raters") == "simulated"


@staff_page
def report_list(request: HttpRequest) -> HttpResponse:
    """List the studies."""
    return render(request, "analysis/list.html", {"studies": studies_with_counts()})


@staff_page
def report_page(request: HttpRequest, slug: str) -> HttpResponse:
    """Show a study's report."""
    study = get_object_or_404(Study, slug=slug)
    simulated = _simulated(request)
    page = {"study": study, "simulated": simulated}
    try:
        report = study_report(study, simulated=simulated)
    except AnswersError as error:
        return render(request, "analysis/page.html", {**page, "error": str(error)}, status=422)
    if not simulated:
        record_peek(study=study, user=request.user, place="report")
    return render(request, "analysis/page.html", {**page, **context(report, {})})


@staff_page
def report_json(request: HttpRequest, slug: str) -> HttpResponse:
    """Return a study's report.json."""
    study = get_object_or_404(Study, slug=slug)
    try:
        text = render_json(study_report(study, simulated=_simulated(request)))
    except AnswersError as error:
        return HttpResponse(f"{error}\n", status=422, content_type="text/plain; charset=utf-8")
    if not _simulated(request):
        record_peek(study=study, user=request.user, place="report.json")
    return HttpResponse(text, content_type="application/json")


@staff_page
def answers_csv(request: HttpRequest, slug: str) -> HttpResponse:
    """Return a study's answers as a CSV file to save."""
    study = get_object_or_404(Study, slug=slug)
    text = write_csv(responses(study, simulated=_simulated(request)))
    headers = {"Content-Disposition": f'attachment; filename="{study.slug}-answers.csv"'}
    return HttpResponse(text, content_type="text/csv; charset=utf-8", headers=headers)
