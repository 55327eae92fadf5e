"""The rater's pages. GET shows, POST writes and redirects; nothing here knows an arm."""

import functools
import logging
from collections.abc import Callable

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.http import require_http_methods, require_safe

from . import selectors, services
from .cookies import remember, token_from
from .errors import InvalidResponse, SurveyError, UnreadableImage
from .forms import ResponseForm
from .images import plain_png
from .models import SYSTEM_RNG, Rater, Study

logger = logging.getLogger(__name__)

PRELOADED = 2
"""How many trials after the current one the page names, for their images to be fetched early."""

HEADINGS = {
    "conflicting_response": "You answered this pair before",
    "study_closed": "This survey is closed",
    "study_full": "This survey is full",
    "unknown_study": "Not found",
    "unknown_trial": "This page is out of date",
}

MENDABLE = {"conflicting_response", "invalid_response", "unknown_trial"}
"""Codes of what is mended by going on with the next trial."""

View = Callable[..., HttpResponse]


def rater_page(view: View) -> View:
    """Keep the page out of every cache and turn what the survey refuses into a calm page with its status."""

    @never_cache
    @functools.wraps(view)
    def page(request: HttpRequest, *args: str, **kwargs: str) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except SurveyError as error:
            return _refusal(request, error, slug=kwargs.get("slug", ""))

    return page


def _refusal(request: HttpRequest, error: SurveyError, *, slug: str) -> HttpResponse:
    """Say what the survey refuses and, where there is a way on, lead to it."""
    context = {
        "heading": HEADINGS.get(error.code, "That did not work"),
        "message": f"{error}.",
        "onward": reverse("survey:landing", args=[slug]) if error.code in MENDABLE else "",
    }
    return render(request, "survey/refusal.html", context, status=error.status)


@require_safe
@rater_page
def home(request: HttpRequest) -> HttpResponse:
    """Say what this site is; studies are found by their links only."""
    return render(request, "survey/home.html")


@require_safe
@rater_page
def landing(request: HttpRequest, slug: str) -> HttpResponse:
    """Welcome a new rater; bring a known one back to where they left."""
    study = selectors.study_by_slug(slug)
    if _rater(request, study) is not None:
        return redirect("survey:trial", slug=slug)
    selectors.require_joinable(study)
    return render(request, "survey/landing.html", {"study": study})


@require_http_methods(["GET", "HEAD", "POST"])
@rater_page
def consent(request: HttpRequest, slug: str) -> HttpResponse:
    """Show consent and instructions; on POST enrol the rater, once per browser."""
    study = selectors.study_by_slug(slug)
    if _rater(request, study) is not None:
        return redirect("survey:trial", slug=slug)
    if request.method != "POST":
        selectors.require_joinable(study)
        return render(request, "survey/consent.html", {"study": study, "total": selectors.pairs_for_a_rater(study)})
    rater = services.enrol_rater(study=study, rng=SYSTEM_RNG)
    response = redirect("survey:trial", slug=slug)
    remember(response, rater)
    return response


@require_http_methods(["GET", "HEAD", "POST"])
@rater_page
def trial(request: HttpRequest, slug: str) -> HttpResponse:
    """Show the next unanswered trial; on POST store the answer to the trial that the form names."""
    study = selectors.study_by_slug(slug)
    rater = _rater(request, study)
    if request.method == "POST":
        return _answer(request, rater, slug=slug)
    if rater is None:
        return redirect("survey:landing", slug=slug)
    waiting = selectors.unanswered_trials(rater, limit=1 + PRELOADED)
    if not waiting:
        return redirect("survey:thanks", slug=slug)
    selectors.require_open(study)
    context = {
        "study": study,
        "trial": waiting[0],
        "upcoming": waiting[1:],
        "progress": selectors.progress_of(rater),
    }
    return render(request, "survey/trial.html", context)


def _answer(request: HttpRequest, rater: Rater | None, *, slug: str) -> HttpResponse:
    """Store a posted answer and go on to the next trial."""
    form = ResponseForm(request.POST)
    if not form.is_valid():
        raise InvalidResponse(f"the answer did not arrive whole ({form.first_error()}): go back and choose again")
    answered = selectors.trial_of(rater, token=form.cleaned_data["trial"])
    services.record_response(
        trial=answered, choice=form.cleaned_data["choice"], response_ms=form.cleaned_data["response_ms"]
    )
    return redirect("survey:trial", slug=slug)


@require_safe
@rater_page
def thanks(request: HttpRequest, slug: str) -> HttpResponse:
    """Thank the rater, once the server holds every answer of their plan."""
    study = selectors.study_by_slug(slug)
    rater = _rater(request, study)
    if rater is None:
        return redirect("survey:landing", slug=slug)
    progress = selectors.progress_of(rater)
    if not progress.complete:
        return redirect("survey:trial", slug=slug)
    return render(request, "survey/thanks.html", {"study": study, "progress": progress})


@require_safe
@cache_control(private=True, max_age=86_400, immutable=True)
def image(request: HttpRequest, slug: str, token: str, side: str) -> HttpResponse:
    """Send one side of one of the rater's own trials: pixels, and headers that every image shares."""
    try:
        study = selectors.study_by_slug(slug)
        shown = selectors.trial_of(_rater(request, study), token=token)
        generated = shown.left_image if side == "left" else shown.right_image
        content = plain_png(generated.path)
    except UnreadableImage:
        logger.warning("The file of generated image %s is missing or damaged: restore it", generated.pk)
        raise Http404("This image cannot be shown.") from None
    except SurveyError as error:
        raise Http404(str(error)) from None
    return HttpResponse(content, content_type="image/png")


def _rater(request: HttpRequest, study: Study) -> Rater | None:
    """Return the rater whom the browser's cookie names."""
    return selectors.rater_by_token(study=study, token=token_from(request, study))
