"""Compute a study's report and store it for its page."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from analysis.answers import AnswersError
from analysis.management.lookup import find_study
from analysis.rendering import render_fragment, render_json
from analysis.reports import page_thumbnails, study_report
from analysis.selectors import report_key, report_source
from analysis.services import Heartbeat, record_progress, store_failure, store_result


class Command(BaseCommand):
    """Compute a study's report and store it for its page."""

    help = (
        "Compute a study's report and store it, so that its page shows it at once. The page starts this by itself when "
        "answers have come in; by hand it serves to have a large report ready before anyone looks."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the flags."""
        parser.add_argument("slug", metavar="SLUG", help="the study")
        parser.add_argument("--simulated", action="store_true", help="report the simulated raters, and only them")

    def handle(self, *_args: Any, slug: str, simulated: bool, **_options: Any) -> None:  # noqa: ANN401
        """Compute, tell how it goes, store."""
        study = find_study(slug)
        key, source = report_key(study, simulated=simulated), report_source(study)

        def progress(share: float, what: str) -> None:
            record_progress(key=key, progress=share, stage=what)

        progress(0.0, "reading the answers")
        try:
            with Heartbeat(key):
                report = study_report(study, simulated=simulated, progress=progress)
                html = render_fragment(report, page_thumbnails(study, report))
                document = render_json(report)
        except AnswersError as error:
            store_failure(key=key, source=source, failure=str(error))
            message = f"study {slug}: {error}"
            raise CommandError(message) from error
        except Exception as error:
            store_failure(key=key, source=source, failure=f"the computation broke off ({type(error).__name__})")
            raise
        store_result(key=key, source=source, html=html, document=document)
        self.stdout.write(f"{slug}: {report.answers:,} answers reported")
