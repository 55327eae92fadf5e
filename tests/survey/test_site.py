"""What holds for every page: the policy, the error pages, and a web process without torch."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings
from django.http import HttpResponse
from django.test import Client, RequestFactory

from config import errors
from config.middleware import ContentSecurityPolicyMiddleware
from survey.models import Rater, Study

from .conftest import browser_of

pytestmark = pytest.mark.django_db


def test_every_page_carries_the_policy(rater: Rater) -> None:
    browser = browser_of(rater)
    for address in ("/", "/s/demo/trial/", "/nowhere", "/admin/login/", "/static/nothing.js"):
        policy = browser.get(address)["Content-Security-Policy"]
        assert "script-src 'self'" in policy
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


def test_no_cookie_is_a_scripts_and_none_is_sent_to_other_sites(study: Study) -> None:
    browser = Client()
    browser.get("/s/demo/consent/")
    browser.post("/s/demo/consent/")
    assert {"csrftoken", "rater-demo"} <= browser.cookies.keys()
    for cookie in browser.cookies.values():
        assert cookie["httponly"] or not cookie.value
        assert cookie["samesite"] == "Lax" or not cookie.value


def test_a_view_may_set_its_own_policy() -> None:
    answer = HttpResponse(headers={"Content-Security-Policy": "sandbox"})
    policed = ContentSecurityPolicyMiddleware(lambda _: answer)(RequestFactory().get("/"))
    assert policed["Content-Security-Policy"] == "sandbox"


def test_no_served_template_has_a_script_or_style_of_its_own() -> None:
    folder = settings.BASE_DIR / "templates"
    written_to_disk = {folder / "analysis" / name for name in ("export.html", "plan_export.html")}
    served = set(folder.rglob("*.html")) - written_to_disk
    assert len(served) >= 8
    for template in served:
        source = template.read_text()
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", source), template


def test_the_icon_that_browsers_ask_for_unasked_is_the_sites(client: Client) -> None:
    answer = client.get("/favicon.ico")
    assert answer.status_code == 302
    assert re.fullmatch(r"/static/survey/icon\b.*\.svg", answer["Location"])


def test_an_unknown_page_is_calm_and_tells_nothing_of_the_code(client: Client) -> None:
    page = client.get("/nowhere")
    assert page.status_code == 404
    assert b"There is nothing at this address: check the link." in page.content
    assert b"urlpatterns" not in page.content


@pytest.mark.parametrize("status", [400, 403, 404, 500])
@pytest.mark.parametrize("path", ["/s/demo/", "/api/v1/nothing"])
def test_errors_have_a_page_or_the_apis_shape(status: int, path: str) -> None:
    request = RequestFactory().get(path)
    handlers: dict[int, Callable[..., HttpResponse]] = {
        400: errors.bad_request,
        403: errors.permission_denied,
        404: errors.page_not_found,
    }
    answer = errors.server_error(request) if status == 500 else handlers[status](request, Exception("secret"))
    assert answer.status_code == status
    assert b"secret" not in answer.content
    assert (b'{"error":' in answer.content) == path.startswith("/api/")


def test_a_host_that_is_not_ours_is_a_400(client: Client, study: Study) -> None:
    page = client.get("/s/demo/", headers={"Host": "elsewhere.example"})
    assert page.status_code == 400
    assert b"elsewhere" not in page.content


def test_a_web_process_loads_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys, config.wsgi; from django.urls import get_resolver; get_resolver().url_patterns; "
        "sys.exit('torch' in sys.modules)"
    )
    environment = os.environ | {"SAMESEED_DATA": str(tmp_path), "DJANGO_SETTINGS_MODULE": "config.settings"}
    subprocess.run([sys.executable, "-c", program], cwd=settings.BASE_DIR, env=environment, check=True)
