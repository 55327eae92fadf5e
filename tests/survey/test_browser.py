"""A rater at a real browser: 40 pairs by keys, clicks and taps, with and without JavaScript, through faults.

Set SAMESEED_SCREENSHOTS to a folder to keep pictures of the pages.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from generation.models import GeneratedImage
from survey.models import Exposure, ImageFault, Rater, Response, Revision, Study, Trial
from survey.services import close_study

from . import chromium
from .factories import ARMS, make_study

pytestmark = pytest.mark.django_db(transaction=True)
expect.set_options(timeout=20_000)

PAIRS = 40
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
CHOICE_BY_KEY = {
    "ArrowLeft": "left",
    "ArrowDown": "same",
    "ArrowRight": "right",
    "1": "left",
    "2": "same",
    "3": "right",
}
ANSWERS = "**/api/v1/trials/*/response"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium for all tests of this module.

    Playwright keeps an event loop in this thread, and Django refuses to query where one runs; nothing here is
    asynchronous, so the guard is off for this module.
    """
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        executable = chromium.executable(playwright)
        with playwright.chromium.launch(executable_path=executable, args=chromium.ARGUMENTS) as launched:
            yield launched


@pytest.fixture
def study(transactional_db: None, tmp_path: Path) -> Study:
    """An open study of 40 pairs of 32 pixels."""
    return make_study(tmp_path, count=PAIRS, size=32)


@pytest.fixture
def small_study(transactional_db: None, tmp_path: Path) -> Study:
    """An open study of 3 pairs."""
    return make_study(tmp_path, count=3, size=32)


def open_context(browser: Browser, live_server: LiveServer, **options: Any) -> BrowserContext:
    """Return a fresh browser profile whose addresses start at the live server."""
    context = browser.new_context(base_url=live_server.url, **{"viewport": DESKTOP} | options)
    context.set_default_timeout(60_000)
    return context


def keep_picture(page: Page, name: str) -> None:
    """Save a screenshot if the environment asks for it."""
    if folder := os.environ.get("SAMESEED_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")


def enter(page: Page, tap: chromium.Tap | None = None) -> None:
    """Go from the link to the first trial."""
    page.goto("/s/demo/")
    if tap:
        tap.collect()
    page.get_by_role("link", name="Begin").click()
    if tap:
        tap.collect()
    page.get_by_role("button", name="I agree, start").click()
    expect(page.locator("#count")).to_be_visible()


def ready(page: Page, number: int, total: int = PAIRS) -> None:
    """Wait until the trial of that number is shown and its buttons are awake."""
    expect(page.locator("#count")).to_have_text(f"{number} of {total}")
    expect(page.locator("#trial[data-state=ready]")).to_be_visible()


def settle(page: Page, tap: chromium.Tap, number: int) -> None:
    """Read what has arrived; before the last answers wait for all of it, for the page is left soon after them."""
    if number > PAIRS - 3:
        page.wait_for_load_state("networkidle")
    tap.collect()


def assert_undimmed(page: Page) -> None:
    """Check that both images are shown as they are."""
    for side in ("left", "right"):
        assert page.locator(f"#{side}").evaluate("element => getComputedStyle(element).opacity") == "1"


def wait_until(page: Page, holds: Callable[[], bool]) -> None:
    """Let the page go on until something holds, for ten seconds at most."""
    for _ in range(200):
        if holds():
            return
        page.wait_for_timeout(50)
    pytest.fail("it did not come to hold within ten seconds")


def choices_in_order() -> list[str]:
    """Return the stored choices in the order in which their trials were shown."""
    return list(Response.objects.order_by("trial__position").values_list("choice", flat=True))


def wait_for_answers(page: Page, *choices: str) -> None:
    """Let the page go on until the server holds these choices, in the order shown."""
    wait_until(page, lambda: choices_in_order() == list(choices))


def assert_blind(tap: chromium.Tap) -> None:
    """Check that nothing sent or got names an arm, a run or a file."""
    tap.collect()
    seen = b"\n".join(tap.seen).lower()
    assert len(tap.seen) > 2 * PAIRS
    assert len(tap.missed) <= 3, "only the last answers' replies may go unread, for the page is left at once"
    words = {*ARMS, "demo-toys", *GeneratedImage.objects.values_list("file", flat=True)}
    assert [word for word in words if word.encode() in seen] == []


def assert_answered_once_each(study: Study) -> None:
    """Check that one rater has answered each pair of the study exactly once."""
    assert Rater.objects.count() == 1
    answered = Counter(Response.objects.values_list("trial__pair", flat=True))
    assert answered == Counter(study.pairs.values_list("pk", flat=True))


def test_forty_pairs_by_keys_with_a_pause(browser: Browser, live_server: LiveServer, study: Study) -> None:
    keys = list(islice(cycle(CHOICE_BY_KEY), PAIRS))
    with open_context(browser, live_server) as context:
        tap = chromium.Tap(context)
        page = context.new_page()
        enter(page, tap)
        for number, key in enumerate(keys, start=1):
            if number == 18:
                ready(page, number)
                # Images fetched ahead may still be on their way; what is under way is lost with the page.
                page.wait_for_load_state("networkidle")
                tap.collect()
                page.close()
                page = context.new_page()
                page.goto("/s/demo/")
            ready(page, number)
            settle(page, tap, number)
            page.keyboard.press(key)
        expect(page).to_have_url(f"{live_server.url}/s/demo/thanks/")
        expect(page.get_by_text("All 40 answers are stored")).to_be_visible()
        assert_blind(tap)
    assert choices_in_order() == [CHOICE_BY_KEY[key] for key in keys]
    assert_answered_once_each(study)
    assert tap.errors == []
    visits = [request.url for request in tap.requests if request.is_navigation_request() and "/trial/" in request.url]
    assert len(visits) == 2, "with a script, only entering and coming back load the page"
    assert not Response.objects.filter(response_ms=None).exists()


def test_forty_pairs_by_taps_on_a_phone(browser: Browser, live_server: LiveServer, study: Study) -> None:
    names = list(islice(cycle(["Right", "Left", "Same", "Left"]), PAIRS))
    with open_context(browser, live_server, viewport=PHONE, has_touch=True, is_mobile=True) as context:
        tap = chromium.Tap(context)
        page = context.new_page()
        enter(page, tap)
        for number, name in enumerate(names, start=1):
            ready(page, number)
            settle(page, tap, number)
            assert_undimmed(page)
            page.get_by_role("button", name=name).tap()
        expect(page.get_by_text("All 40 answers are stored")).to_be_visible()
        assert_blind(tap)
    assert choices_in_order() == [name.lower() for name in names]
    assert_answered_once_each(study)
    assert tap.errors == []


def test_forty_pairs_by_clicks_without_javascript(browser: Browser, live_server: LiveServer, study: Study) -> None:
    names = list(islice(cycle(["Left", "Right", "Same"]), PAIRS))
    with open_context(browser, live_server, viewport=PHONE, java_script_enabled=False) as context:
        tap = chromium.Tap(context)
        page = context.new_page()
        enter(page, tap)
        for number, name in enumerate(names, start=1):
            expect(page.locator("#count")).to_have_text(f"{number} of {PAIRS}")
            if number == 25:
                tap.collect()
                page.goto("/s/demo/")
            tap.collect()
            page.get_by_role("button", name=name).click()
        expect(page.get_by_text("All 40 answers are stored")).to_be_visible()
        assert_blind(tap)
    assert choices_in_order() == [name.lower() for name in names]
    assert_answered_once_each(study)


@pytest.mark.parametrize("scripted", [True, False], ids=["with JavaScript", "without"])
@pytest.mark.parametrize(
    ("width", "height", "least"), [(1280, 800, 440), (390, 844, 170), (320, 568, 140), (844, 390, 140)]
)
def test_a_trial_fits_the_screen_with_equal_images_side_by_side(
    browser: Browser,
    live_server: LiveServer,
    study: Study,
    width: int,
    height: int,
    least: int,
    scripted: bool,  # noqa: FBT001
) -> None:
    size = {"width": width, "height": height}
    with open_context(browser, live_server, viewport=size, java_script_enabled=scripted) as context:
        page = context.new_page()
        enter(page)
        if scripted:  # the script puts its own images in the place of the page's
            ready(page, 1)
        keep_picture(page, f"trial-{width}-{'script' if scripted else 'plain'}")
        names = ["#count", "#class-name", "#question", "#left", "#right"]
        parts = [page.locator(name) for name in names] + page.locator("button").all()
        boxes = [part.bounding_box() for part in parts]
        for box in boxes:
            assert box is not None
            assert box["x"] >= 0
            assert box["y"] >= 0
            assert box["x"] + box["width"] <= width
            assert box["y"] + box["height"] <= height
        left, right = boxes[3], boxes[4]
        assert left is not None
        assert right is not None
        assert left["width"] == left["height"] == right["width"] == right["height"] >= least
        assert left["y"] == right["y"]
        assert right["x"] >= left["x"] + left["width"]
        for button in boxes[5:]:
            assert button is not None
            assert min(button["width"], button["height"]) >= 48
        if scripted:
            rendering = "element => getComputedStyle(element).imageRendering"
            assert page.locator("#left").evaluate(rendering) == "pixelated"
            surround = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
            assert surround == "rgb(117, 117, 117)"


def test_images_are_stacked_below_320_pixels_only(browser: Browser, live_server: LiveServer, study: Study) -> None:
    with open_context(browser, live_server, viewport={"width": 300, "height": 700}) as context:
        page = context.new_page()
        enter(page)
        ready(page, 1)
        left, right = page.locator("#left").bounding_box(), page.locator("#right").bounding_box()
        assert left is not None
        assert right is not None
        assert right["y"] >= left["y"] + left["height"]
        assert left["width"] == right["width"]


def test_the_next_two_pairs_are_there_before_they_are_needed(
    browser: Browser, live_server: LiveServer, study: Study
) -> None:
    with open_context(browser, live_server) as context:
        tap = chromium.Tap(context)
        page = context.new_page()
        enter(page, tap)
        for number in (1, 2):
            ready(page, number)
            expected = 2 * (number + 2)
            images: list[str] = []

            def all_there(images: list[str] = images, expected: int = expected) -> bool:
                images[:] = [request.url for request in tap.requests if request.url.endswith(".png")]
                return len(images) >= expected

            wait_until(page, all_there)
            assert len(images) == len(set(images)) == expected
            page.keyboard.press("ArrowLeft")
        ready(page, 3)


def test_a_second_click_before_the_reply_is_not_a_second_answer(
    browser: Browser, live_server: LiveServer, study: Study
) -> None:
    with open_context(browser, live_server) as context:
        tap = chromium.Tap(context)
        page = context.new_page()
        enter(page, tap)
        ready(page, 1)
        page.evaluate(
            "for (const value of ['left', 'left', 'right']) document.querySelector(`[value=${value}]`).click()"
        )
        ready(page, 2)
        wait_for_answers(page, "left")
        page.wait_for_load_state("networkidle")
        assert [request.method for request in tap.requests if "/response" in request.url] == ["POST"]
    assert choices_in_order() == ["left"]


def test_keys_with_modifiers_are_the_browsers_own(browser: Browser, live_server: LiveServer, study: Study) -> None:
    with open_context(browser, live_server) as context:
        page = context.new_page()
        enter(page)
        ready(page, 1)
        for key in ("Control+1", "Shift+ArrowLeft", "a", "4", "ArrowUp"):
            page.keyboard.press(key)
        page.keyboard.press("ArrowDown")
        ready(page, 2)
        wait_for_answers(page, "same")


def test_a_button_is_reached_and_pressed_by_keyboard(browser: Browser, live_server: LiveServer, study: Study) -> None:
    with open_context(browser, live_server) as context:
        page = context.new_page()
        enter(page)
        for number in (1, 2):
            ready(page, number)
            for _ in range(3 if number == 1 else 0):
                page.keyboard.press("Tab")
            expect(page.get_by_role("button", name="Same")).to_be_focused()
            page.keyboard.press("Enter")
        ready(page, 3)
        expect(page.locator("[aria-live=polite]")).to_contain_text("3 of 40")
        expect(page.get_by_alt_text("Left image")).to_be_visible()
        expect(page.get_by_alt_text("Right image")).to_be_visible()
        wait_for_answers(page, "same", "same")


def test_answers_outlive_a_cut_connection_and_a_failing_server(
    browser: Browser, live_server: LiveServer, study: Study
) -> None:
    """The rater goes on with what is there; nothing is taken for stored, and in the end everything is."""
    faults = iter(["cut", "503", "cut", "502"])

    def fail(route: Route) -> None:
        fault = next(faults, None)
        if fault == "cut":
            route.abort("internetdisconnected")
        elif fault:
            route.fulfill(status=int(fault), body="busy")
        else:
            route.continue_()

    with open_context(browser, live_server) as context:
        page = context.new_page()
        enter(page)
        ready(page, 1)
        page.wait_for_load_state("networkidle")
        page.route(ANSWERS, fail)
        page.keyboard.press("ArrowRight")
        ready(page, 2)
        expect(page.locator("#message")).to_contain_text("Your answers are kept here and will be sent.")
        page.keyboard.press("ArrowLeft")
        ready(page, 3)
        page.keyboard.press("ArrowDown")
        ready(page, 4)
        wait_for_answers(page, "right", "left", "same")
        expect(page.locator("#message")).to_have_text("")


def test_answers_outlive_a_closed_tab_and_a_reply_lost_after_the_commit(
    browser: Browser, live_server: LiveServer, small_study: Study
) -> None:
    statuses: list[int] = []

    def commit_and_drop(route: Route) -> None:
        if not statuses:
            statuses.append(route.fetch().status)
        route.abort("connectionreset")

    with open_context(browser, live_server) as context:
        page = context.new_page()
        enter(page)
        ready(page, 1, total=3)
        page.wait_for_load_state("networkidle")
        page.route(ANSWERS, commit_and_drop)
        page.keyboard.press("ArrowRight")
        ready(page, 2, total=3)
        page.keyboard.press("ArrowDown")
        ready(page, 3, total=3)
        wait_for_answers(page, "right")
        page.close()
        page = context.new_page()
        replies: list[int] = []
        page.on("response", lambda reply: replies.append(reply.status) if "/response" in reply.url else None)
        page.goto("/s/demo/")
        ready(page, 3, total=3)
        page.keyboard.press("ArrowLeft")
        expect(page.get_by_text("All 3 answers are stored")).to_be_visible()
    assert statuses == [201]
    assert replies == [200, 201, 201], "the answer whose reply was lost is acknowledged, and not stored again"
    assert choices_in_order() == ["right", "same", "left"]
    assert_answered_once_each(small_study)


def test_the_last_page_waits_for_the_last_answer(browser: Browser, live_server: LiveServer, small_study: Study) -> None:
    with open_context(browser, live_server) as context:
        page = context.new_page()
        enter(page)
        for number in (1, 2):
            ready(page, number, total=3)
            page.keyboard.press("ArrowLeft")
        ready(page, 3, total=3)
        page.route(ANSWERS, lambda route: route.abort("internetdisconnected"))
        page.keyboard.press("ArrowRight")
        expect(page.locator("#message")).to_contain_text("Your answers are kept here")
        page.goto("/s/demo/thanks/")
        expect(page).to_have_url(f"{live_server.url}/s/demo/trial/")
        page.unroute(ANSWERS)
        expect(page.get_by_text("All 3 answers are stored")).to_be_visible()
    assert choices_in_order() == ["left", "left", "right"]


def test_the_last_answer_can_be_corrected_by_backspace_and_button(
    browser: Browser, live_server: LiveServer, small_study: Study
) -> None:
    with open_context(browser, live_server) as context:
        page = context.new_page()
        enter(page)
        ready(page, 1, total=3)
        page.keyboard.press("Backspace")
        page.keyboard.press("ArrowLeft")
        ready(page, 2, total=3)
        first = page.locator("input[name=trial]").input_value()
        page.keyboard.press("Backspace")
        ready(page, 1, total=3)
        expect(page.locator("#message")).to_contain_text("This is your last answer")
        expect(page.locator("button[data-chosen]")).to_have_text("←Left")
        page.keyboard.press("ArrowRight")
        ready(page, 2, total=3)
        assert page.locator("input[name=trial]").input_value() == first
        page.get_by_role("link", name="Back").click()
        ready(page, 1, total=3)
        page.get_by_role("link", name="Forward").click()
        ready(page, 2, total=3)
        page.reload()
        ready(page, 2, total=3)
        page.keyboard.press("Backspace")
        ready(page, 1, total=3)
        page.keyboard.press("ArrowDown")
        for number in (2, 3):
            ready(page, number, total=3)
            page.keyboard.press("ArrowLeft")
        expect(page.get_by_text("All 3 answers are stored")).to_be_visible()
    assert choices_in_order() == ["same", "left", "left"]
    history = Revision.objects.values_list("number", "before", "choice", "response__trial__position")
    assert list(history) == [(1, "left", "right", 1), (2, "right", "same", 1)]
    assert Exposure.objects.filter(trial__position=2, answered_at=None).exists(), "shown, and left for a correction"


def test_practice_has_feedback_and_does_not_count(browser: Browser, live_server: LiveServer, tmp_path: Path) -> None:
    make_study(tmp_path, count=2, size=32, practice_trials=2)
    with open_context(browser, live_server) as context:
        page = context.new_page()
        enter(page)
        for expected in ("That is right.", "The other answer was expected"):
            expect(page.locator("#count")).to_have_text("Practice")
            expect(page.locator("#trial[data-state=ready]")).to_be_visible()
            trial = Trial.objects.get(token=page.locator("input[name=trial]").input_value())
            assert trial.right_answer is not None
            page.keyboard.press("ArrowDown" if "other" in expected else f"Arrow{trial.right_answer.capitalize()}")
            expect(page.locator("#feedback")).to_contain_text(expected)
        for number in (1, 2):
            ready(page, number, total=2)
            page.keyboard.press("ArrowLeft")
        expect(page.get_by_text("All 2 answers are stored")).to_be_visible()


def test_a_broken_image_is_retried_reported_and_left_out(
    browser: Browser, live_server: LiveServer, small_study: Study
) -> None:
    pair = small_study.pairs.get(index=1)
    pair.first_image.path.write_bytes(b"no image")
    with open_context(browser, live_server) as context:
        tap = chromium.Tap(context)
        page = context.new_page()
        enter(page)
        for answers in (1, 2):
            expect(page.locator("#trial[data-state=ready]")).to_be_visible()
            page.keyboard.press("ArrowRight")
            wait_until(page, lambda answers=answers: Response.objects.count() == answers)  # type: ignore[misc]
        expect(page.get_by_text("All 2 answers are stored")).to_be_visible()
    skipped = Trial.objects.get(pair=pair)
    assert (skipped.state, skipped.skip_reason) == ("skipped", "image")
    assert not Response.objects.filter(trial=skipped).exists()
    assert ImageFault.objects.filter(pair=pair, confirmed=True).count() == 1
    asked = [request.url for request in tap.requests if skipped.token in request.url and request.url.endswith(".png")]
    assert len(asked) >= 3


def test_the_ledger_holds_what_the_browser_measured(
    browser: Browser, live_server: LiveServer, small_study: Study
) -> None:
    with open_context(browser, live_server, viewport=PHONE, device_scale_factor=3) as context:
        page = context.new_page()
        enter(page)
        ready(page, 1, total=3)
        width = page.locator("#left").evaluate("element => element.getBoundingClientRect().width")
        for event in ("blur", "focus", "blur", "focus"):
            page.evaluate(f"window.dispatchEvent(new Event('{event}'))")
        page.keyboard.press("ArrowLeft")
        ready(page, 2, total=3)
        wait_for_answers(page, "left")
        page.goto("about:blank")
        wait_until(page, lambda: Exposure.objects.filter(trial__position=2).exists())
    answered = Exposure.objects.get(trial__position=1)
    assert answered.answered_at is not None
    assert answered.painted_at is not None
    assert answered.shown_at <= answered.painted_at <= answered.answered_at
    assert (answered.focus_losses, answered.pixel_ratio) == (2, 3)
    assert answered.image_width == pytest.approx(width)
    assert (answered.viewport_width, answered.viewport_height) == (390, 844)
    assert Exposure.objects.get(trial__position=2).answered_at is None


def test_an_image_that_fails_is_fetched_again_and_no_answer_is_taken_meanwhile(
    browser: Browser, live_server: LiveServer, small_study: Study
) -> None:
    with open_context(browser, live_server) as context:
        page = context.new_page()
        page.route("**/left.png", lambda route: route.abort("connectionreset"))
        enter(page)
        expect(page.locator("#message")).to_contain_text("An image has not arrived yet")
        page.keyboard.press("ArrowLeft")
        page.unroute("**/left.png")
        ready(page, 1, total=3)
        assert not Response.objects.exists()
        page.keyboard.press("ArrowLeft")
        ready(page, 2, total=3)
        wait_for_answers(page, "left")


def test_a_study_that_closes_midway_says_so(browser: Browser, live_server: LiveServer, small_study: Study) -> None:
    with open_context(browser, live_server) as context:
        page = context.new_page()
        enter(page)
        ready(page, 1, total=3)
        close_study(study=small_study)
        page.keyboard.press("ArrowLeft")
        expect(page.get_by_role("heading", name="This survey is closed")).to_be_visible()
    assert not Response.objects.exists()


def test_a_trial_answered_in_another_tab_keeps_its_first_answer(
    browser: Browser, live_server: LiveServer, small_study: Study
) -> None:
    with open_context(browser, live_server) as context:
        page = context.new_page()
        enter(page)
        ready(page, 1, total=3)
        other = context.new_page()
        other.goto("/s/demo/trial/")
        ready(other, 1, total=3)
        other.keyboard.press("ArrowLeft")
        ready(other, 2, total=3)
        wait_for_answers(other, "left")
        page.keyboard.press("ArrowRight")
        expect(page.locator("#feedback")).to_contain_text("You answered this pair before, in another window")
        ready(page, 2, total=3)
    assert choices_in_order() == ["left"]


@pytest.mark.parametrize(
    ("language", "scheme", "viewport"),
    [("en", "light", DESKTOP), ("ar", "dark", PHONE), ("en", "dark", {"width": 640, "height": 400})],
    ids=["desktop", "phone, dark, right to left", "200 % zoom"],
)
def test_every_page_is_accessible(
    browser: Browser,
    live_server: LiveServer,
    tmp_path: Path,
    language: str,
    scheme: Any,
    viewport: dict[str, int],
) -> None:
    """WCAG 2.2 AA as far as axe can tell, on each page that a rater can reach."""
    study = make_study(
        tmp_path, count=2, size=32, practice_trials=1, language=language, completion_code="CODE-1", title="Toys"
    )
    found: dict[str, list[str]] = {}

    def check(page: Page, name: str) -> None:
        keep_picture(page, f"{name}-{language}-{scheme}-{viewport['width']}")
        results = Axe().run(page, options={"runOnly": {"type": "tag", "values": WCAG}}).response
        found[name] = [
            f"{fault['id']}: {node['html'][:120]}" for fault in results["violations"] for node in fault["nodes"]
        ]
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if wide > 0:
            found[name].append(f"{wide} px to scroll sideways")

    with open_context(browser, live_server, viewport=viewport, color_scheme=scheme, reduced_motion="reduce") as context:
        page = context.new_page()
        for path, name in (("/", "home"), ("/s/demo/", "landing"), ("/s/demo/consent/", "consent")):
            page.goto(path)
            check(page, name)
        page.locator("form button").click()
        for name in ("practice", "first", "second"):
            expect(page.locator("#trial[data-state=ready]")).to_be_visible()
            check(page, name)
            if name == "second":
                page.keyboard.press("Backspace")
                expect(page.locator("button[data-chosen]")).to_be_visible()
                check(page, "back")
                page.keyboard.press("Backspace")
                expect(page.locator("#trial[data-state=ready]")).to_be_visible()
                for address in ("pause", "withdraw"):
                    page.goto(f"/s/demo/{address}/")
                    check(page, address)
                page.goto("/s/demo/trial/")
                expect(page.locator("#trial[data-state=ready]")).to_be_visible()
            page.keyboard.press("ArrowLeft")
        expect(page.get_by_text("CODE-1")).to_be_visible()
        check(page, "thanks")
        close_study(study=study)
        context.clear_cookies()
        page.goto("/s/demo/")
        check(page, "closed")
    assert len(found) == 11
    assert {name: faults for name, faults in found.items() if faults} == {}
