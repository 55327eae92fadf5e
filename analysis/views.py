"""The report's pages: read-only, for staff.

A page shows the last report that was computed and has a newer one computed in the background when answers have come in:
the web worker reads a row and renders a page, and never loads what computes. With `?raters=simulated` a page is about
a dry run's simulated raters, and about them alone.
"""

from collections.abc import Callable

from django.contrib.admin.views.decorators import staff_member_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.safestring import mark_safe
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from analysis.forms import PlanForm
from analysis.models import Computation
from analysis.selectors import (
    computation_of,
    pair_of,
    report_key,
    report_source,
    results_withheld,
    studies_with_counts,
)
from analysis.services import request_computation
from survey.errors import UnreadableImage
from survey.images import plain_png
from survey.models import Study
from survey.services import record_peek

View = Callable[..., HttpResponse]
RETRY_S = 2


def staff_page(view: View) -> View:
    """Let only staff read the page, send others to the admin's login, and keep it out of caches."""
    return require_safe(never_cache(staff_member_required(view)))


def _simulated(request: HttpRequest) -> bool:
    return request.GET.get("raters") == "simulated"


def _computation(study: Study, *, simulated: bool) -> Computation:
    """Return the study's report as it was last computed, with a newer one under way if need be."""
    return request_computation(
        key=report_key(study, simulated=simulated),
        source=report_source(study),
        command=["compute_report", study.slug, *(["--simulated"] if simulated else [])],
    )


@staff_page
def report_list(request: HttpRequest) -> HttpResponse:
    """List the studies."""
    return render(request, "analysis/list.html", {"studies": studies_with_counts()})


@staff_page
def report_page(request: HttpRequest, slug: str) -> HttpResponse:
    """Show a study's last report, and how the next one comes on."""
    study = get_object_or_404(Study, slug=slug)
    simulated = _simulated(request)
    if not simulated and (reason := results_withheld(study)):
        return render(
            request, "analysis/page.html", {"study": study, "simulated": simulated, "error": reason}, status=422
        )
    computation = _computation(study, simulated=simulated)
    failed = computation.state == Computation.State.FAILED
    if computation.html and not simulated:
        record_peek(study=study, user=request.user, place="report")
    page = {
        "study": study,
        "simulated": simulated,
        "computation": computation,
        "running": computation.state == Computation.State.RUNNING,
        "percent": round(100 * computation.progress),
        "error": computation.failure if failed else "",
        # The report command rendered it with Django's templates, which escape.
        "fragment": mark_safe(computation.html),  # noqa: S308
    }
    return render(request, "analysis/page.html", page, status=422 if failed else 200)


@staff_page
def report_status(request: HttpRequest, slug: str) -> HttpResponse:
    """Tell how a computation comes on."""
    study = get_object_or_404(Study, slug=slug)
    found = computation_of(report_key(study, simulated=_simulated(request)))
    if found is None:
        raise Http404
    return _status(found)


def _status(found: Computation) -> JsonResponse:
    return JsonResponse(
        {
            "state": found.state,
            "progress": found.progress,
            "stage": found.stage,
            "computed_at": found.computed_at.isoformat() if found.computed_at else None,
        }
    )


@staff_page
def report_json(request: HttpRequest, slug: str) -> HttpResponse:
    """Return a study's report.json as last computed; 202 while there is none yet."""
    study = get_object_or_404(Study, slug=slug)
    if not _simulated(request) and (reason := results_withheld(study)):
        return HttpResponse(f"{reason}\n", status=422, content_type="text/plain; charset=utf-8")
    found = _computation(study, simulated=_simulated(request))
    if found.state == Computation.State.FAILED:
        return HttpResponse(f"{found.failure}\n", status=422, content_type="text/plain; charset=utf-8")
    if not found.document:
        waiting = "the report is being computed; ask again in a few seconds\n"
        return HttpResponse(
            waiting, status=202, content_type="text/plain; charset=utf-8", headers={"Retry-After": str(RETRY_S)}
        )
    if not _simulated(request):
        record_peek(study=study, user=request.user, place="report.json")
    return HttpResponse(found.document, content_type="application/json")


def _plan(request: HttpRequest) -> tuple[PlanForm, Computation | None]:
    """Return the form, with its computation if it is valid; without a query, the form of the defaults."""
    initial = {name: field.initial for name, field in PlanForm.base_fields.items()}
    form = PlanForm(request.GET or initial)
    if not form.is_valid():
        return form, None
    return form, request_computation(key=form.key(), source=form.key(), command=form.command())


@staff_page
def plan_page(request: HttpRequest) -> HttpResponse:
    """Show the power of studies of several sizes."""
    form, computation = _plan(request)
    page: dict[str, object] = {"form": form}
    if computation is not None:
        query = f"?{request.GET.urlencode()}" if request.GET else ""
        page |= {
            "computation": computation,
            "running": computation.state == Computation.State.RUNNING,
            "percent": round(100 * computation.progress),
            "error": computation.failure if computation.state == Computation.State.FAILED else "",
            "fragment": mark_safe(computation.html),  # noqa: S308 - numbers in our own template
            "status": reverse("analysis:plan-status") + query,
            "csv": reverse("analysis:plan-csv") + query,
        }
    return render(request, "analysis/plan.html", page, status=200 if form.is_valid() else 422)


@staff_page
def plan_csv(request: HttpRequest) -> HttpResponse:
    """Return a plan's table as a file to save."""
    form, computation = _plan(request)
    if computation is None or not computation.document:
        reason = (
            "there is no such plan yet; open its page first\n"
            if form.is_valid()
            else "the plan's values are not valid\n"
        )
        return HttpResponse(reason, status=404, content_type="text/plain; charset=utf-8")
    headers = {"Content-Disposition": 'attachment; filename="plan.csv"'}
    return HttpResponse(computation.document, content_type="text/csv; charset=utf-8", headers=headers)


@staff_page
def plan_status(request: HttpRequest) -> HttpResponse:
    """Tell how a plan's simulation comes on."""
    _, computation = _plan(request)
    if computation is None:
        raise Http404
    return _status(computation)


@staff_page
def answers_csv(request: HttpRequest, slug: str) -> HttpResponse:
    """Return a study's answers as a CSV file to save."""
    # pandas is loaded by the worker that is asked for answers, and by no other.
    from analysis.answers import write_csv  # noqa: PLC0415
    from analysis.frames import responses  # noqa: PLC0415

    study = get_object_or_404(Study, slug=slug)
    text = write_csv(responses(study, simulated=_simulated(request)))
    headers = {"Content-Disposition": f'attachment; filename="{study.slug}-answers.csv"'}
    return HttpResponse(text, content_type="text/csv; charset=utf-8", headers=headers)


@staff_page
def pair_image(_request: HttpRequest, slug: str, pair: int, side: str) -> HttpResponse:
    """Return one image of a pair: `first` and `second` follow the arms' names."""
    found = pair_of(get_object_or_404(Study, slug=slug), pair)
    if found is None or side not in ("first", "second"):
        raise Http404
    try:
        data = plain_png(found.first_image if side == "first" else found.second_image)
    except UnreadableImage as error:
        raise Http404(str(error)) from error
    return HttpResponse(data, content_type="image/png")
