"""The runs' pages: who may see them, what they show, and how quick they stay."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from PIL import Image
from playwright.sync_api import expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from generation.gallery import classifiers_folder
from generation.models import GeneratedImage, GenerationRun
from generation.selectors import images_of_pairs, pair_set, picture_of
from generation.settings_table import side_by_side
from generation.shipped import PRETRAINED, is_shipped_preset, shipped_digests
from survey.cookies import cookie_name
from tests.survey import chromium
from tests.survey.factories import make_study

pytestmark = pytest.mark.django_db

PAGES = ["/runs/", "/runs/toys/", "/runs/toys/pairs.html", "/runs/toys/1/"]
FILES = ["/runs/toys/1/robust.png", "/runs/toys/1/pictures/trajectory.png", "/runs/toys/classifiers/gradients.png"]
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
CLASSES = ("hat", "bag", "shoe")


@pytest.fixture(autouse=True)
def static_root(tmp_path: Path) -> Iterator[None]:
    """WhiteNoise warns of a static root that collectstatic has not made yet."""
    with override_settings(STATIC_ROOT=tmp_path, DATA_DIR=tmp_path / "data"):
        yield


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(User.objects.create_user("ada", is_staff=True))
    return client


def made_with(arm: str, preset: str = "tiny") -> dict[str, Any]:
    return {
        "preset": {"name": preset, "image": {"size": 4}},
        "arm": arm,
        "seed": 7,
        "scale": 1.0 if arm == "robust" else 0.5,
        "diffusion_sha256": "d" * 64,
        "classifier_sha256": ("a" if arm == "robust" else "b") * 64,
    }


def make_set(folder: Path, *, name: str = "toys", pairs: int = 4, **options: Any) -> None:
    """Make a set of pairs whose images are all there is to see."""
    folder.mkdir(exist_ok=True)
    for level, arm in enumerate(("robust", "vanilla")):
        Image.new("L", (4, 4), 100 * level).save(folder / f"{arm}.png")
        run = GenerationRun.objects.create(
            name=name, arm=arm, preset="tiny", directory=str(folder), completed_at=timezone.now(),
            settings=options.get("settings", made_with(arm)),
        )  # fmt: skip
        GeneratedImage.objects.bulk_create(
            GeneratedImage(
                run=run, pair_index=index, class_index=index % 3, class_name=CLASSES[index % 3], seed=7,
                file=f"{arm}.png", sha256=hashlib.sha256(f"{arm} {index}".encode()).hexdigest(),
            )
            for index in range(pairs)
        )  # fmt: skip


def draw(pair: int) -> None:
    """Put a pair's pictures where plot_trajectory puts them."""
    images = images_of_pairs(pair_set("toys"), [pair])[pair]
    for picture in ("trajectory", "gradients"):
        path = picture_of(images, picture)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(path)


def draw_classifiers(*names: str) -> None:
    folder = classifiers_folder(Path(settings.DATA_DIR) / "pictures", "b" * 64, "a" * 64)
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(b"<svg/>" if name.endswith("svg") else b"{}")


def listed(html: str) -> list[int]:
    """The pairs on a wall."""
    return [int(index) for index in re.findall(r'<a href="/runs/toys/(\d+)/">', html)]


@pytest.mark.parametrize("page", PAGES + FILES)
def test_only_staff_may_read_and_nothing_else_is_told(client: Client, page: str, tmp_path: Path) -> None:
    make_set(tmp_path / "set")
    draw(1)
    draw_classifiers("gradients.png")
    for login in (None, User.objects.create_user("bob")):
        if login:
            client.force_login(login)
        response = client.get(page, headers={"If-None-Match": "*"})
        assert response.status_code == 302
        assert response["Location"].startswith("/admin/login/")
        assert response.content == b""
        assert "ETag" not in response


@pytest.mark.parametrize("page", PAGES + FILES)
def test_a_rater_is_nobody_here(client: Client, page: str, tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", count=3)
    client.post(f"/s/{study.slug}/consent/")
    assert cookie_name(study.slug) in client.cookies
    assert client.get(page)["Location"].startswith("/admin/login/")
    for address in ("/", f"/s/{study.slug}/", f"/s/{study.slug}/trial/"):
        assert b"/runs/" not in client.get(address).content


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_read_only_stay_out_of_caches_and_run_no_inline_code(
    staff: Client, page: str, tmp_path: Path
) -> None:
    make_set(tmp_path / "set")
    assert staff.post(page).status_code == 405
    response = staff.get(page)
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    text = response.content.decode()
    assert "style=" not in text
    assert not re.search(r"<script(?! src=)", text)


def test_images_are_kept_by_the_browser_alone_which_asks_each_time(staff: Client, tmp_path: Path) -> None:
    make_set(tmp_path / "set")
    response = staff.get("/runs/toys/1/vanilla.png")
    assert response.content == (tmp_path / "set" / "vanilla.png").read_bytes()
    assert response["Content-Type"] == "image/png"
    assert set(response["Cache-Control"].split(", ")) == {"private", "no-cache"}
    again = staff.get("/runs/toys/1/vanilla.png", headers={"If-None-Match": response["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    # Another pair's image of the same file is another image to the browser.
    assert staff.get("/runs/toys/2/vanilla.png")["ETag"] != response["ETag"]


def test_the_list_has_every_run_with_its_settings(staff: Client, tmp_path: Path) -> None:
    make_set(tmp_path / "set", pairs=5)
    make_set(tmp_path / "other", name="others", pairs=2)
    sets = staff.get("/runs/").context["sets"]
    assert [(found.name, found.pairs, [run.arm for run in found.runs]) for found in sets] == [
        ("others", 2, ["robust", "vanilla"]),
        ("toys", 5, ["robust", "vanilla"]),
    ]
    assert b"generate_pairs" not in staff.get("/runs/").content


def test_the_admin_leads_to_the_wall(client: Client, tmp_path: Path) -> None:
    make_set(tmp_path / "set")
    client.force_login(User.objects.create_superuser("eve"))
    assert b'href="/runs/toys/"' in client.get("/admin/generation/generationrun/").content


def test_an_outsider_is_not_told_which_sets_there_are(client: Client) -> None:
    for page in ("/runs/none/", "/runs/none/1/", "/runs/none/1/robust.png"):
        assert client.get(page).status_code == 302


def test_an_empty_list_says_how_to_make_pairs(staff: Client) -> None:
    assert b"generate_pairs" in staff.get("/runs/").content


def test_the_wall_shows_the_first_pairs_and_where_the_next_ones_are(staff: Client, tmp_path: Path) -> None:
    make_set(tmp_path / "set", pairs=100)
    text = staff.get("/runs/toys/").content.decode()
    assert listed(text) == list(range(48))
    assert 'data-more="/runs/toys/pairs.html?from=48"' in text
    assert text.count('loading="lazy"') == 96
    more = staff.get("/runs/toys/pairs.html?from=48").content.decode()
    assert listed(more) == list(range(48, 96))
    last = staff.get("/runs/toys/pairs.html?from=96").content.decode()
    assert listed(last) == [96, 97, 98, 99]
    assert "data-more" not in last


def test_the_wall_can_be_of_one_class_and_start_anywhere(staff: Client, tmp_path: Path) -> None:
    make_set(tmp_path / "set", pairs=200)
    page = staff.get("/runs/toys/?class=2&from=20")
    assert listed(page.content.decode())[:3] == [20, 23, 26]
    assert page.context["classes"] == [(0, "hat", 67), (1, "bag", 67), (2, "shoe", 66)]
    assert 'href="/runs/toys/?from=164&amp;class=2"' in page.content.decode()
    assert b"There are no such pairs" in staff.get("/runs/toys/?class=9").content
    # What is no number is as if it were not there.
    assert listed(staff.get("/runs/toys/?class=x&from=-1").content.decode())[0] == 0
    assert staff.get(f"/runs/toys/?from={10**9}").status_code == 200


def test_a_page_takes_as_many_queries_for_many_pairs_as_for_few(staff: Client, tmp_path: Path) -> None:
    make_set(tmp_path / "set", pairs=200)
    make_set(tmp_path / "few", name="few", pairs=2)
    counts = {}
    for address in ("/runs/few/", "/runs/toys/", "/runs/toys/?class=1", "/runs/toys/pairs.html"):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            staff.get(address)
        counts[address] = len(queries)
    # Session, user, runs, classes, their names, the pairs' indices, their images.
    assert set(counts.values()) <= {5, 7}


def test_queries_of_the_wall_go_by_an_index(staff: Client, tmp_path: Path) -> None:
    make_set(tmp_path / "set", pairs=60)
    with CaptureQueriesContext(connection) as queries:
        staff.get("/runs/toys/?class=1&from=3")
    for query in queries.captured_queries:
        if "generatedimage" in query["sql"] and connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
                plan = " ".join(str(row[3]) for row in cursor.fetchall())
            assert "SCAN" not in plan, (query["sql"], plan)


def test_settings_stand_side_by_side_those_that_differ_first() -> None:
    rows = side_by_side({"robust": made_with("robust"), "vanilla": {**made_with("vanilla"), "eta": 0.5}})
    assert [(row.name, row.values) for row in rows] == [
        ("scale", ("1.0", "0.5")),
        ("classifier_sha256", ("a" * 64, "b" * 64)),
        ("eta", ("–", "0.5")),
        ("preset.name", ("tiny", "tiny")),
        ("preset.image.size", ("4", "4")),
        ("seed", ("7", "7")),
        ("diffusion_sha256", ("d" * 64, "d" * 64)),
    ]


def test_a_pair_shows_its_pictures_and_its_neighbours(staff: Client, tmp_path: Path) -> None:
    make_set(tmp_path / "set")
    draw(1)
    page = staff.get("/runs/toys/1/")
    assert (page.context["before"], page.context["after"]) == (0, 2)
    text = page.content.decode()
    assert "plot_trajectory" not in text
    for picture in ("trajectory", "gradients"):
        address = f"/runs/toys/1/pictures/{picture}.png"
        assert f'src="{address}"' in text
        assert staff.get(address)["Content-Type"] == "image/png"
    ends = [staff.get(f"/runs/toys/{pair}/").context for pair in (0, 3)]
    assert [(page["before"], page["after"]) for page in ends] == [(None, 1), (2, None)]
    assert "trajectory" in staff.get("/runs/toys/").content.decode()


def test_pictures_of_other_images_are_not_shown_as_the_pairs(staff: Client, tmp_path: Path) -> None:
    make_set(tmp_path / "set")
    draw(1)
    GeneratedImage.objects.filter(run__arm="vanilla", pair_index=1).update(sha256="0" * 64)
    assert b"plot_trajectory toys --pairs 1" in staff.get("/runs/toys/1/").content
    assert staff.get("/runs/toys/1/pictures/trajectory.png").status_code == 404


def test_without_pictures_the_page_names_the_command_with_the_files_that_it_needs(
    staff: Client, tmp_path: Path
) -> None:
    make_set(tmp_path / "set")
    command = staff.get("/runs/toys/2/").context["command"]
    assert command == (
        "python manage.py plot_trajectory toys --pairs 2 --diffusion DIFFUSION_FILE --robust ROBUST_FILE "
        "--vanilla VANILLA_FILE"
    )
    digests = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in PRETRAINED.glob("fashion32/*.s*")}
    for run in GenerationRun.objects.all():
        run.settings = {
            **made_with(run.arm, preset="fashion32"),
            "diffusion_sha256": digests["diffusion"],
            "classifier_sha256": digests[run.arm],
        }
        run.save()
    assert staff.get("/runs/toys/2/").context["command"] == "python manage.py plot_trajectory toys --pairs 2"
    pictures = staff.get("/runs/toys/").context["classifiers"]
    assert [part["command"] for part in pictures] == [
        "python manage.py plot_gradients fashion32 --data DATA",
        "python manage.py plot_targeted fashion32 --data DATA",
    ]


def test_imported_pairs_have_no_way_to_be_drawn(staff: Client, tmp_path: Path) -> None:
    make_set(tmp_path / "set", settings={"manifest_sha256": "0" * 64})
    assert b"These pairs were imported" in staff.get("/runs/toys/1/").content
    assert staff.get("/runs/toys/").context["classifiers"] == []
    assert staff.get("/runs/toys/classifiers/gradients.png").status_code == 404


def test_the_classifiers_pictures_and_numbers_are_shown_where_there_are_any(staff: Client, tmp_path: Path) -> None:
    make_set(tmp_path / "set")
    draw_classifiers("gradient-energy.svg", "gradient-energy.json", "secret.txt")
    text = staff.get("/runs/toys/").content.decode()
    assert 'src="/runs/toys/classifiers/gradient-energy.svg"' in text
    assert 'href="/runs/toys/classifiers/gradient-energy.json"' in text
    assert "plot_targeted tiny.toml --data DATA --robust ROBUST_FILE --vanilla VANILLA_FILE" in text
    assert staff.get("/runs/toys/classifiers/gradient-energy.svg")["Content-Type"] == "image/svg+xml"
    for file in ("secret.txt", "gradients.png", "..%2Fgradient-energy.svg"):
        assert staff.get(f"/runs/toys/classifiers/{file}").status_code == 404


@pytest.mark.parametrize(
    "page",
    [
        "/runs/none/",
        "/runs/none/pairs.html",
        "/runs/toys/99/",
        f"/runs/toys/{10**30}/",
        f"/runs/toys/{10**30}/robust.png",
        "/runs/toys/1/unguided.png",
        "/runs/toys/1/pictures/other.png",
        "/runs/toys/1/pictures/trajectory.png",
    ],
)
def test_what_is_not_there_is_not_found(staff: Client, page: str, tmp_path: Path) -> None:
    make_set(tmp_path / "set")
    assert staff.get(page).status_code == 404


def test_an_image_that_has_gone_is_not_found(staff: Client, tmp_path: Path) -> None:
    make_set(tmp_path / "set")
    (tmp_path / "set" / "robust.png").unlink()
    assert staff.get("/runs/toys/1/robust.png").status_code == 404


def test_the_shipped_weights_are_known_by_their_content() -> None:
    assert is_shipped_preset("fashion32")
    assert not is_shipped_preset("../presets/fashion32")
    assert len(shipped_digests("fashion32")) == 3
    assert shipped_digests("cifar10") == set()
    assert shipped_digests("..") == set()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("size", [{"width": 1280, "height": 800}, {"width": 390, "height": 844}])
def test_a_browser_brings_the_next_pairs_as_the_end_comes_near(
    live_server: LiveServer, tmp_path: Path, size: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_set(tmp_path / "set", pairs=120)
    draw(1)
    client = Client()
    client.force_login(User.objects.create_user("ada", is_staff=True))
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    with sync_playwright() as playwright:
        path = chromium.executable(playwright)
        with playwright.chromium.launch(executable_path=path, args=chromium.ARGUMENTS) as browser:
            context = browser.new_context(viewport=size, base_url=live_server.url)
            context.add_cookies(
                [{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}]
            )
            tap, page = chromium.Tap(context), context.new_page()
            page.goto("/runs/toys/")
            pairs = page.locator(".wall li:not(.more)")
            expect(pairs).to_have_count(48)
            for count in (96, 120):
                page.locator(".wall .more").scroll_into_view_if_needed()
                expect(pairs).to_have_count(count, timeout=20_000)
            expect(page.locator(".wall .more")).to_have_count(0)
            page.goto("/runs/toys/1/")
            expect(page.locator("img.picture")).to_have_count(2)
            for address in ("/runs/", "/runs/toys/", "/runs/toys/1/"):
                page.goto(address)
                assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
                if size["width"] < 500:
                    results = Axe().run(page, options={"runOnly": {"type": "tag", "values": WCAG}}).response
                    assert [fault["id"] for fault in results["violations"]] == []
                    assert results["passes"]
            assert tap.errors == []
