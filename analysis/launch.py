"""How a page starts a computation; `SAMESEED_LAUNCHER` in the settings names one of these."""

import subprocess
import sys
import threading
from collections.abc import Sequence

from django.conf import settings
from django.core.management import CommandError, call_command


def in_child(command: Sequence[str]) -> None:
    """Run a command of manage.py in a process of its own, which outlives the request; the web stays small.

    Its output goes where the server's goes. The process is not waited for: the table tells what came of it.
    """
    arguments = [sys.executable, str(settings.BASE_DIR / "manage.py"), *command]
    child = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)  # noqa: S603 - our own command
    # An ended process stays in the system's table until somebody waits for it.
    threading.Thread(target=child.wait, daemon=True).start()


def here(command: Sequence[str]) -> None:
    """Run a command within the request; for tests."""
    try:
        call_command(*command)
    except CommandError:
        # The command has stored why.
        return
