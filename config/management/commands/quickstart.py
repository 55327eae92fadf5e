"""From nothing to a survey in a browser: `python manage.py quickstart`."""

import errno
import os
import secrets
import socket
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q
from django.http.request import validate_host
from django.urls import reverse

from generation.models import GeneratedImage, GenerationRun
from generation.selectors import image_store
from survey.errors import SurveyError
from survey.models import Study
from survey.services import create_study

NAME = "demo"
PRESET = "fashion32"
SEED = 2023
WILDCARDS = {"0.0.0.0", "::"}  # noqa: S104


class Command(BaseCommand):
    """Prepare what is not there yet, tell the links, and become the web server."""

    help = (
        "Migrate the database, make pairs of images with the shipped weights and open a study on them where there is"
        " none, and serve it. What is there already is used as it is."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--host", default="127.0.0.1", help="address to serve on (default: %(default)s)")
        parser.add_argument("--port", type=int, default=8000, help="port to serve on (default: %(default)s)")
        parser.add_argument("--workers", type=int, default=2, help="web processes (default: %(default)s)")
        parser.add_argument("--pairs", type=int, default=40, help="pairs to make the first time (default: %(default)s)")
        parser.add_argument("--no-serve", action="store_true", help="prepare everything, then stop")

    def handle(self, *_args: str, **options: Any) -> None:  # noqa: ANN401 -- argparse's values
        """Run the steps in order; each leaves alone what an earlier run has done."""
        host, port = options["host"], options["port"]
        for name in ("pairs", "workers"):
            if options[name] < 1:
                message = f"--{name} must be at least 1, not {options[name]}."
                raise CommandError(message)
        if not options["no_serve"]:
            check_address(host, port)
        call_command("migrate", interactive=False, verbosity=0, skip_checks=True)
        call_command("collectstatic", interactive=False, verbosity=0, skip_checks=True)
        study = self.ensure_study(options["pairs"])
        self.tell(study, site_address(host, port), ensure_staff())
        if not options["no_serve"]:
            self.stdout.write("Serving; Ctrl-C stops it.")
            self.stdout.flush()
            serve(host, port, options["workers"])

    def ensure_study(self, count: int) -> Study:
        """Return the study, on pairs made now if there are none."""
        if study := Study.objects.filter(slug=NAME).first():
            check_images()
            return study
        if not pairs_are_complete():
            self.stdout.write(f"Making {count} pairs of images with the shipped weights.")
            self.stdout.flush()
            make_pairs(count)
        check_images()
        try:
            return create_study(slug=NAME, pairs_name=NAME, title="Pictures of clothes")
        except SurveyError as error:
            raise CommandError(str(error)) from error

    def tell(self, study: Study, site: str, password: str | None) -> None:
        """Print where everything is, and a password that has just been made."""
        closed = " (closed: it takes no more answers)" if study.status == Study.Status.CLOSED else ""
        lines = [
            "",
            f"  Survey  {site}{reverse('survey:landing', args=[study.slug])}{closed}",
            f"  Report  {site}{reverse('analysis:report', args=[study.slug])}",
            f"  Pairs   {site}{reverse('runs:wall', args=[NAME])}",
            f"  Staff   {site}{reverse('admin:index')}",
        ]
        if password is None:
            lines.append("          A new password: .venv/bin/python manage.py changepassword staff")
        else:
            lines.append(f"          User staff, password {password}")
            lines.append("          Shown only now; a new one: .venv/bin/python manage.py changepassword staff")
        self.stdout.write("\n".join([*lines, ""]))


def check_address(host: str, port: int) -> None:
    """Raise CommandError if the site cannot be served there.

    Args:
        host: A name or address of this machine.
        port: From 1 to 65535.

    Raises:
        CommandError: The port is taken or out of range, the address is not this machine's, or Django would refuse it.
    """
    if not 1 <= port <= 65535:
        message = f"Port {port} is not a port: give one from 1 to 65535, e.g. PORT=9000."
        raise CommandError(message)
    if host not in WILDCARDS and not validate_host(host_in_address(host), settings.ALLOWED_HOSTS):
        message = f"The site does not answer to {host}: name it, SAMESEED_HOSTS={host},localhost,127.0.0.1"
        raise CommandError(message)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            message = f"Port {port} is taken; serve on another: make run PORT={9000 if port != 9000 else 9001}"
        else:
            message = f"Cannot serve on {host}, port {port}: {error.strerror or error}."
        raise CommandError(message) from error


def host_in_address(host: str) -> str:
    """Return the host as an address writes it: an IPv6 address stands in brackets."""
    return f"[{host}]" if ":" in host else host


def site_address(host: str, port: int) -> str:
    """Return the site's address without a final slash, as this machine's browser would open it."""
    return f"http://{host_in_address('127.0.0.1' if host in WILDCARDS else host)}:{port}"


def pairs_are_complete() -> bool:
    """Tell whether every arm of the pairs is there, none of them half made."""
    runs = GenerationRun.objects.filter(name=NAME)
    return runs.exists() and not runs.filter(completed_at=None).exists()


def make_pairs(count: int) -> None:
    """Make the pairs in a process of its own, so that this one, which becomes the server, never loads torch.

    Raises:
        CommandError: The process failed, after saying why, or was interrupted.
    """
    output = settings.DATA_DIR / "pairs" / NAME
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "generate_pairs", PRESET]
    command += ["--count", str(count), "--seed", str(SEED), "--output", str(output), "--name", NAME]
    try:
        code = subprocess.run(command, check=False).returncode  # noqa: S603
    except KeyboardInterrupt as error:
        message = "Stopped; the next run goes on from here."
        raise CommandError(message, returncode=130) from error
    if code:
        message = "The pairs could not be made; the lines above say why. The next run goes on from where this one got."
        raise CommandError(message)


def check_images() -> None:
    """Raise CommandError if the pairs' files are not where the database says. A store gets those that it lacks."""
    if image_store() is not None:
        call_command("upload_images", NAME)
        return
    image = GeneratedImage.objects.select_related("run").filter(run__name=NAME).first()
    if image is not None and not Path(image.path).is_file():
        message = (
            f"The images of {NAME} are not in {image.run.directory} any more: put them back there,"
            f" or move {settings.DATA_DIR} away to begin anew."
        )
        raise CommandError(message)


def ensure_staff() -> str | None:
    """Return the password of the user `staff`, made now, or None if somebody can sign in already."""
    users = get_user_model().objects
    if users.filter(Q(username="staff") | Q(is_staff=True)).exists():
        return None
    password = secrets.token_urlsafe(12)
    users.create_superuser("staff", password=password)
    return password


def serve(host: str, port: int, workers: int) -> None:
    """Become gunicorn; does not return."""
    arguments = [sys.executable, "-m", "gunicorn", "config.wsgi", "--pythonpath", str(settings.BASE_DIR)]
    arguments += ["--config", str(settings.BASE_DIR / "config" / "gunicorn.py")]
    arguments += ["--bind", f"{host_in_address(host)}:{port}", "--workers", str(workers)]
    os.execv(sys.executable, arguments)  # noqa: S606
