"""Images from S3-compatible storage: the same pixels, and a store that fails is not taken for an image that is lost."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.test import Client, override_settings

from config.settings import _image_store
from generation.models import GeneratedImage, GenerationRun
from survey.errors import InvalidStudy
from survey.images import plain_png
from survey.models import Balance, ImageFault, Rater, ServerError, Trial
from survey.services import create_study, skip_trial

from .bucket import Bucket, serve_bucket
from .conftest import browser_of
from .factories import first_trial, make_rater, write_pairs

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def served() -> Iterator[Bucket]:
    """A bucket that the settings name, with keys from the environment as boto3 has them."""
    with serve_bucket() as bucket, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAMESEED_IMAGES", "s3://pictures/survey/first")
        patch.setenv("SAMESEED_S3_ENDPOINT", bucket.address)
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        with override_settings(STORAGES={**settings.STORAGES, **_image_store()}):
            yield bucket


@pytest.fixture
def bucket(served: Bucket) -> Bucket:
    """The bucket, empty."""
    served.objects, served.unsigned, served.broken = {}, [], False
    return served


@pytest.fixture
def rater(bucket: Bucket, tmp_path: Path) -> Rater:
    """A rater of a study whose images are in the bucket and nowhere else."""
    write_pairs(tmp_path)
    call_command("upload_images", "toys", stdout=io.StringIO())
    study = create_study(slug="demo", pairs_name="toys", practice_trials=0)
    shutil.rmtree(tmp_path / "toys")
    return make_rater(study)


def address(rater: Rater) -> str:
    return f"/s/demo/image/{first_trial(rater).token}/left.png"


def test_raters_get_from_a_bucket_what_they_would_get_from_disk(bucket: Bucket, tmp_path: Path) -> None:
    write_pairs(tmp_path)
    call_command("upload_images", "toys", stdout=io.StringIO())
    image = GeneratedImage.objects.first()
    assert image is not None
    on_disk = plain_png(image.path)
    rater = make_rater(create_study(slug="demo", pairs_name="toys", practice_trials=0))
    shutil.rmtree(tmp_path / "toys")
    sent = browser_of(rater).get(address(rater))
    assert sent.status_code == 200
    assert plain_png(image) == on_disk
    assert b"http" not in str(sent.headers).encode(), "the browser hears of no bucket"
    assert bucket.unsigned == []


def test_no_name_in_the_bucket_tells_an_arm(bucket: Bucket, rater: Rater) -> None:
    digests = set(GeneratedImage.objects.values_list("sha256", flat=True))
    assert set(bucket.objects) == {f"/pictures/survey/first/{digest}.png" for digest in digests}


def test_uploading_again_sends_nothing_twice_and_mends_what_is_missing(bucket: Bucket, tmp_path: Path) -> None:
    write_pairs(tmp_path)
    call_command("upload_images", "toys", stdout=io.StringIO())
    kept = dict(bucket.objects)
    lost = next(iter(kept))
    bucket.objects = dict.fromkeys(kept, b"there already")
    del bucket.objects[lost]
    said = io.StringIO()
    call_command("upload_images", "toys", stdout=said)
    assert bucket.objects == dict.fromkeys(kept, b"there already") | {lost: kept[lost]}
    assert said.getvalue() == "8 images named 'toys' are in the store.\n"


def test_a_bucket_that_fails_is_the_servers_fault_and_no_image_is_given_up(bucket: Bucket, rater: Rater) -> None:
    browser = Client(raise_request_exception=False)
    browser.cookies = browser_of(rater).cookies
    bucket.broken = True
    assert browser.get(address(rater)).status_code == 500, "which the browser tries again"
    skip = browser.post(
        f"/api/v1/trials/{first_trial(rater).token}/skip", {"reason": "image"}, content_type="application/json"
    )
    assert skip.status_code == 500
    assert not ImageFault.objects.exists()
    assert list(ServerError.objects.values_list("study_slug", "place", "count")) == [
        ("", "survey-api:skip", 1),
        ("demo", "survey:image", 1),
    ], "researchers see it on the dashboard"
    bucket.broken = False
    assert browser.get(address(rater)).status_code == 200


def test_an_image_that_the_bucket_lacks_is_a_confirmed_fault(bucket: Bucket, rater: Rater) -> None:
    trial = Trial.objects.select_related("rater").get(pk=first_trial(rater).pk)
    bucket.objects.clear()
    assert browser_of(rater).get(address(rater)).status_code == 404
    skip_trial(trial=trial, reason="image")
    assert ImageFault.objects.get().confirmed
    assert Balance.objects.get(pair=trial.pair).set_aside


def test_a_study_is_refused_until_its_images_are_uploaded(bucket: Bucket, tmp_path: Path) -> None:
    write_pairs(tmp_path)
    with pytest.raises(InvalidStudy, match="upload"):
        create_study(slug="demo", pairs_name="toys")


@pytest.mark.parametrize("value", ["bucket", "s3://", "https://bucket/folder"])
def test_an_address_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SAMESEED_IMAGES", value)
    with pytest.raises(ImproperlyConfigured, match=f"'{value}': give s3://bucket/folder"):
        _image_store()


def test_without_a_store_nothing_is_uploaded() -> None:
    on_disk = {name: store for name, store in settings.STORAGES.items() if name != "images"}
    with override_settings(STORAGES=on_disk), pytest.raises(CommandError, match="names no store"):
        call_command("upload_images", "toys")


def test_unknown_pairs_and_changed_files_are_not_uploaded(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no pairs named 'toys'"):
        call_command("upload_images", "toys")
    write_pairs(tmp_path)
    run = GenerationRun.objects.first()
    assert run is not None
    (Path(run.directory) / "00002.png").write_bytes(b"other")
    with pytest.raises(CommandError, match="has changed"):
        call_command("upload_images", "toys")
