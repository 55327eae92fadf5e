"""The rater's pages. GET shows, POST writes and redirects; nothing here knows an arm."""

import functools
import logging
from collections.abc import Callable

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import cache_control, never_cache
from django.views.decorators.http import require_http_methods, require_safe
from django.views.decorators.vary import vary_on_headers

from . import selectors, services
from .api.state import handle, last_answer, trial_state
from .arrivals import arrival_in, has_parameters
from .cookies import arrival_from, forget, remember, remember_arrival, token_from
from .errors import InvalidResponse, SurveyError, UnreadableImage
from .forms import ResponseForm
from .images import noise_png, plain_png
from .models import SYSTEM_RNG, Rater, Study, Trial

logger = logging.getLogger(__name__)

HEADINGS = {
    "conflicting_response": gettext_lazy("You answered this pair before"),
    "not_invited": gettext_lazy("This survey is by invitation"),
    "screened_out": gettext_lazy("Your part has ended"),
    "study_closed": gettext_lazy("This survey is closed"),
    "study_full": gettext_lazy("This survey is full"),
    "time_over": gettext_lazy("Your time is over"),
    "unknown_rater": gettext_lazy("Not found"),
    "unknown_study": gettext_lazy("Not found"),
    "unknown_trial": gettext_lazy("This page is out of date"),
}

TELLING = {
    "conflicting_response": gettext_lazy("Open your link again to go on where you left."),
    "invalid_response": gettext_lazy("Open your link again to go on where you left."),
    "not_invited": gettext_lazy("Open the link that you were given."),
    "screened_out": gettext_lazy("Your answers so far are stored."),
    "study_closed": gettext_lazy("It takes no answers now."),
    "study_full": gettext_lazy("It has all the raters it needs. Thank you for coming."),
    "time_over": gettext_lazy("Your answers so far are stored."),
    "unknown_study": gettext_lazy("Check the link."),
    "unknown_trial": gettext_lazy("Open your link again to go on where you left."),
}
"""What is said in languages other than English, in which errors tell more."""

MENDABLE = {"conflicting_response", "invalid_response", "unknown_trial"}
"""Codes of what is mended by going on with the next trial."""

View = Callable[..., HttpResponse]


def rater_page(view: View) -> View:
    """Give the view its study, in the study's language or the browser's, and keep the page out of every cache.

    What the survey refuses becomes a calm page with its status.
    """

    @never_cache
    @vary_on_headers("Accept-Language")
    @functools.wraps(view)
    def page(request: HttpRequest, slug: str, *args: str, **kwargs: str) -> HttpResponse:
        browsers = translation.get_language_from_request(request)
        try:
            study = selectors.study_by_slug(slug)
        except SurveyError as error:
            with translation.override(browsers):
                return _refusal(request, error, slug=slug)
        with translation.override(study.language or browsers):
            try:
                return view(request, study, *args, **kwargs)
            except SurveyError as error:
                return _refusal(request, error, slug=slug)

    return page


def _refusal(request: HttpRequest, error: SurveyError, *, slug: str) -> HttpResponse:
    """Say what the survey refuses and, where there is a way on, lead to it."""
    context = {
        "heading": HEADINGS.get(error.code, _("That did not work")),
        "message": f"{error}."
        if (translation.get_language() or "en").startswith("en")
        else TELLING.get(error.code, ""),
        "onward": reverse("survey:landing", args=[slug]) if error.code in MENDABLE else "",
    }
    return render(request, "survey/refusal.html", context, status=error.status)


@require_safe
@never_cache
def home(request: HttpRequest) -> HttpResponse:
    """Say what this site is; studies are found by their links only."""
    with translation.override(translation.get_language_from_request(request)):
        return render(request, "survey/home.html")


@require_safe
@rater_page
def landing(request: HttpRequest, study: Study) -> HttpResponse:
    """Welcome a new rater; bring a known one back to where they left; take what a panel sent out of the address."""
    if has_parameters(request):
        return _arrive(request, study)
    if _rater(request, study) is not None:
        return redirect("survey:trial", slug=study.slug)
    selectors.require_joinable(study)
    return render(request, "survey/landing.html", {"study": study})


def _arrive(request: HttpRequest, study: Study) -> HttpResponse:
    """Recognise whom the address names, or keep it in the browser until they consent; nothing is stored here."""
    response = redirect("survey:landing", slug=study.slug)
    arrival = arrival_in(request, study)
    known = None
    if arrival.participant:
        known = selectors.rater_by_participant(study=study, participant=arrival.participant)
    elif arrival.invite:
        known = selectors.rater_by_invite(study=study, token=arrival.invite)
    if known is not None:
        remember(response, known)
    elif arrival.participant or arrival.invite:
        forget(response, study)  # whoever used this browser before
        remember_arrival(response, study, arrival)
    return response


@require_http_methods(["GET", "HEAD", "POST"])
@rater_page
def consent(request: HttpRequest, study: Study) -> HttpResponse:
    """Show consent and instructions; on POST enrol the rater, once per browser."""
    if _rater(request, study) is not None:
        return redirect("survey:trial", slug=study.slug)
    if request.method != "POST":
        selectors.require_joinable(study)
        minutes = -(-study.session_limit_s // 60) if study.session_limit_s else None
        context = {"study": study, "total": selectors.trials_for_a_rater(study), "minutes": minutes}
        return render(request, "survey/consent.html", context)
    rater = services.enrol_rater(study=study, rng=SYSTEM_RNG, arrival=arrival_from(request, study))
    response = redirect("survey:trial", slug=study.slug)
    remember(response, rater)
    return response


@require_safe
@rater_page
def personal(request: HttpRequest, study: Study, link_token: str) -> HttpResponse:
    """Bring a rater back by their personal link, on any device."""
    rater = selectors.rater_by_link(study=study, link_token=link_token)
    if rater is None:
        raise Http404
    response = redirect("survey:trial", slug=study.slug)
    remember(response, rater)
    return response


@require_http_methods(["GET", "HEAD", "POST"])
@rater_page
def trial(request: HttpRequest, study: Study) -> HttpResponse:
    """Show the next unanswered trial; on POST store the answer to the trial that the form names."""
    rater = _rater(request, study)
    if request.method == "POST":
        return _answer(request, rater, study)
    if rater is None:
        return redirect("survey:landing", slug=study.slug)
    if study.is_open and selectors.ended(rater, now=timezone.now()) is None:
        rater = services.resume(rater=rater, rng=SYSTEM_RNG)
    state = trial_state(rater)
    if "done_url" in state:
        return redirect(state["done_url"])
    selectors.require_open(study)
    revised = selectors.last_answered(rater) if "back" in request.GET else None
    progress = selectors.progress_in(rater)
    context = {
        "study": study,
        "handle": handle(rater),
        "trial": revised or selectors.waiting_trials(rater, limit=1)[0],
        "revising": revised is not None,
        "state": state | {"last": last_answer(rater)},
        "progress": progress,
        "number": progress.answered if revised else progress.current,
        "feedback": _feedback(rater, request.GET.get("after", "")),
    }
    return render(request, "survey/trial.html", context)


def _feedback(rater: Rater, token: str) -> bool | None:
    """Return whether the practice trial of that token was answered rightly; None if it is no such trial."""
    practised = rater.trials.filter(token=token, kind=Trial.Kind.PRACTICE, response__isnull=False)
    found = practised.select_related("response").first()
    return None if found is None else found.response.choice == found.right_answer


def _answer(request: HttpRequest, rater: Rater | None, study: Study) -> HttpResponse:
    """Store a posted answer and go on to the next trial."""
    form = ResponseForm(request.POST)
    if not form.is_valid():
        raise InvalidResponse(f"the answer did not arrive whole ({form.first_error()}): go back and choose again")
    answered = selectors.trial_of(rater, token=form.cleaned_data["trial"])
    services.record_response(
        trial=answered,
        choice=form.cleaned_data["choice"],
        response_ms=form.cleaned_data["response_ms"],
        key=form.cleaned_data["key"] or None,
        revises=form.cleaned_data["revises"],
        rng=SYSTEM_RNG,
    )
    onward = reverse("survey:trial", args=[study.slug])
    return redirect(f"{onward}?after={answered.token}" if answered.kind == Trial.Kind.PRACTICE else onward)


@require_safe
@rater_page
def thanks(request: HttpRequest, study: Study) -> HttpResponse:
    """Thank the rater, once the server holds every answer of their plan; or say why their part has ended."""
    rater = _rater(request, study)
    if rater is None:
        return redirect("survey:landing", slug=study.slug)
    if selectors.is_complete(rater):
        context = {"study": study, "progress": selectors.progress_of(rater)}
        return render(request, "survey/thanks.html", context)
    if ended := selectors.ended(rater, now=timezone.now()):
        return render(request, "survey/ended.html", {"study": study, "ended": ended})
    return redirect("survey:trial", slug=study.slug)


@require_safe
@rater_page
def pause(request: HttpRequest, study: Study) -> HttpResponse:
    """Tell a rater how to come back, on this device and on another."""
    rater = _rater(request, study)
    if rater is None:
        return redirect("survey:landing", slug=study.slug)
    link = reverse("survey:personal", args=[study.slug, rater.link_token])
    context = {
        "study": study,
        "handle": handle(rater),
        "link": request.build_absolute_uri(link),
        "progress": selectors.progress_of(rater),
    }
    return render(request, "survey/pause.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@rater_page
def withdraw(request: HttpRequest, study: Study) -> HttpResponse:
    """Ask whether to withdraw; on POST delete the rater and all their answers."""
    rater = _rater(request, study)
    if rater is None:
        return redirect("survey:landing", slug=study.slug)
    if request.method != "POST":
        return render(request, "survey/withdraw.html", {"study": study})
    context = {"study": study, "handle": handle(rater)}
    services.withdraw_rater(rater=rater)
    response = render(request, "survey/withdrawn.html", context)
    forget(response, study)
    return response


@require_safe
@cache_control(private=True, max_age=86_400, immutable=True)
def image(request: HttpRequest, slug: str, token: str, side: str) -> HttpResponse:
    """Send one side of one of the rater's own trials: pixels, and headers that every image shares."""
    try:
        study = selectors.study_by_slug(slug)
        shown = selectors.trial_of(_rater(request, study), token=token)
        return HttpResponse(_pixels(shown, side), content_type="image/png")
    except UnreadableImage:
        logger.warning("An image of pair %s is missing or damaged: restore its file", shown.pair_id)
        raise Http404("This image cannot be shown.") from None
    except SurveyError as error:
        raise Http404(str(error)) from None


def _pixels(shown: Trial, side: str) -> bytes:
    """Return a side of a trial as a PNG."""
    generated = shown.left_image if side == "left" else shown.right_image
    if generated is not None:
        return plain_png(generated)
    pair = shown.pair
    return noise_png((pair.width or 1, pair.height or 1), seed=shown.token)


def _rater(request: HttpRequest, study: Study) -> Rater | None:
    """Return the rater whom the browser's cookie names."""
    return selectors.rater_by_token(study=study, token=token_from(request, study))
