"""Nothing that a browser gets tells which arm an image came from, except the pixels themselves."""

import json
import random
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F
from django.test import Client

from generation.models import GeneratedImage, GenerationRun
from survey.models import Pair, Study, Trial
from survey.services import create_study, open_study

from .factories import write_pairs

pytestmark = pytest.mark.django_db

DATE = re.compile(rb"\w{3}, \d{2} \w{3} \d{4} \d\d:\d\d:\d\d GMT")
IMAGE = re.compile(r'(?:src|href)="([^"]+\.png)"')
BIG = 73_400_000
"""Added to ids, so that one that got out could be found."""


@dataclass
class Tap:
    """A browser that keeps every byte it sends and gets."""

    client: Client = field(default_factory=lambda: Client(enforce_csrf_checks=True))
    pages: list[bytes] = field(default_factory=list)
    image_headers: list[bytes] = field(default_factory=list)
    images: list[bytes] = field(default_factory=list)

    def send(self, method: str, address: str, data: Any = None, **options: Any) -> Any:
        """Send a request and keep it with its answer; dates aside, which are the clock's."""
        reply = getattr(self.client, method)(address, data, **options)
        head = f"{method} {address} {data} {options}\n{reply.status_code}\n{sorted(reply.headers.items())}\n"
        head += f"{reply.cookies.output()}\n"
        seen = DATE.sub(b"DATE", head.encode())
        if reply.headers.get("Content-Type") == "image/png":
            self.image_headers.append(re.sub(rb"\('Content-Length', '\d+'\)", b"", seen))
            self.images.append(reply.content)
        else:
            self.pages.append(seen + reply.content)
        return reply

    def fetch_images(self, addresses: list[str]) -> None:
        """Fetch images, as a page does."""
        for address in addresses:
            assert self.send("get", address).status_code == 200

    @property
    def everything(self) -> bytes:
        """All that was sent and got, image files included."""
        return b"".join(self.pages + self.image_headers + self.images)


def make_blind_study(folder: Path, *, swapped: bool) -> Study:
    """Make a study of six pairs whose ids are easy to find."""
    write_pairs(folder, count=6, swapped=swapped)
    GeneratedImage.objects.update(id=F("id") + BIG)
    study = create_study(
        slug="demo", pairs_name="toys", opened=False, practice_trials=1, same_catches=1, noise_catches=1, repeats=1
    )
    Pair.objects.update(id=F("id") + BIG)
    return open_study(study=study, rng=random.Random(1))


def token_in(page: Any) -> tuple[str, str]:
    """Return the trial's token and the form's CSRF token."""
    html = page.content.decode()
    found = re.search(r'name="trial" value="([^"]+)"', html), re.search(r'csrfmiddlewaretoken" value="([^"]+)"', html)
    assert found[0] is not None
    assert found[1] is not None
    return found[0][1], found[1][1]


def rate(tap: Tap) -> None:
    """Go through the whole study, by form and by script in turn, with a few wrong turns on the way."""
    for address in ("/", "/s/demo/", "/s/demo/consent/"):
        page = tap.send("get", address)
    csrf = re.search(r'csrfmiddlewaretoken" value="([^"]+)"', page.content.decode())
    assert csrf is not None
    tap.send("post", "/s/demo/consent/", {"csrfmiddlewaretoken": csrf[1]})
    choices = random.Random(3)
    for number in range(10):
        page = tap.send("get", "/s/demo/trial/")
        token, form_csrf = token_in(page)
        tap.fetch_images(IMAGE.findall(page.content.decode()))
        choice = choices.choice(["left", "same", "right"])
        if number % 2:
            form = {"csrfmiddlewaretoken": form_csrf, "trial": token, "choice": choice}
            assert tap.send("post", "/s/demo/trial/", form).status_code == 302
            tap.send("get", "/s/demo/trial/?back=1")
        else:
            address = f"/api/v1/trials/{token}/response"
            headers = {"X-CSRFToken": form_csrf}
            showing = {"key": f"showing-{number:04d}", "shown_at": "2026-01-01T00:00:00Z", "focus_losses": 0}
            tap.send(
                "post",
                f"/api/v1/trials/{token}/exposure",
                json.dumps(showing),
                content_type="application/json",
                headers=headers,
            )
            sent = json.dumps({"choice": choice, "response_ms": 700 + number, "showing": showing})
            reply = tap.send("post", address, sent, content_type="application/json", headers=headers)
            assert reply.status_code == 201
            tap.fetch_images([trial[side] for trial in reply.json()["next"] for side in ("left", "right")])
            conflict = json.dumps({"choice": "left" if choice == "right" else "right"})
            tap.send("post", address, conflict, content_type="application/json", headers=headers)
            tap.send("post", "/s/demo/trial/", {"csrfmiddlewaretoken": form_csrf, "trial": token, "choice": "?"})
        tap.send("get", f"/s/demo/image/{token}/first.png")
    tap.send("get", "/s/demo/pause/")
    assert b"Thank you" in tap.send("get", "/s/demo/thanks/").content


def replay(monkeypatch: pytest.MonkeyPatch, folder: Path, *, swapped: bool) -> Tap:
    """Rate a fresh study with every source of chance set to its start."""
    rng = random.Random(99)
    source = random.Random(7)
    for module in ("views", "api.views"):
        monkeypatch.setattr(f"survey.{module}.SYSTEM_RNG", source)
    monkeypatch.setattr(
        "django.middleware.csrf.get_random_string",
        lambda length, allowed_chars: "".join(rng.choices(allowed_chars, k=length)),
    )
    Study.objects.all().delete()
    GenerationRun.objects.all().delete()
    make_blind_study(folder, swapped=swapped)
    tap = Tap()
    rate(tap)
    return tap


def test_no_byte_names_an_arm_a_run_a_file_a_pair_or_a_digest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = replay(monkeypatch, tmp_path, swapped=False).everything
    secrets = [*GenerationRun.objects.values_list("name", "arm", "directory")]
    words = {word for row in secrets for word in row} | {"first_image", "second_image"}
    for image in GeneratedImage.objects.all():
        words |= {image.file, image.sha256, image.sha256[:12], str(image.pk)}
    words |= {str(pair.pk) for pair in Pair.objects.all()}
    assert len(words) > 40
    assert [word for word in words if word.lower().encode() in seen.lower()] == []


def test_swapping_the_arms_changes_pixels_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    straight = replay(monkeypatch, tmp_path / "straight", swapped=False)
    swapped = replay(monkeypatch, tmp_path / "swapped", swapped=True)
    assert len(straight.pages) > 20
    assert straight.pages == swapped.pages
    assert straight.image_headers == swapped.image_headers
    assert len(straight.images) == len(swapped.images) > 20
    same = [one == other for one, other in zip(straight.images, swapped.images, strict=True)]
    assert 0 < sum(same) < len(same) / 3, "noise is the same, and nothing else"


def test_each_page_shows_both_arms_and_the_left_one_changes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    replay(monkeypatch, tmp_path, swapped=False)
    sides = [
        (trial.left_arm, trial.right_arm)
        for pair in Pair.objects.all()
        for trial in pair.trials.filter(kind=Trial.Kind.ORDINARY)
    ]
    assert sorted(f"{left} {right}" for left, right in sides) == (
        ["demo: robust demo: vanilla"] * 3 + ["demo: vanilla demo: robust"] * 3
    )
