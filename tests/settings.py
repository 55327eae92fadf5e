"""The settings under test: the real ones, in a data folder of their own that goes when the tests are over.

The test database is a file, as in production, so that threads and processes meet in it as real ones do.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

_folder = Path(tempfile.mkdtemp(prefix="sameseed-tests-"))
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
os.environ["SAMESEED_DATA"] = str(_folder)

from config.settings import *  # noqa: E402, F403
from config.settings import DATABASES, STATIC_ROOT, STORAGES  # noqa: E402

STATIC_ROOT.mkdir()
if DATABASES["default"]["ENGINE"] == "config.sqlite":
    DATABASES["default"]["TEST"] = {"NAME": str(_folder / "test.sqlite3")}
    # No test cuts the power, and waiting for the disk at each commit would take most of their time.
    DATABASES["default"]["OPTIONS"]["sync_together"] = False
    DATABASES["default"]["OPTIONS"]["init_command"] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
SAMESEED_LAUNCHER = "analysis.launch.here"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick; nothing here is secret
# The names of collected files need a collection; tests read them from where they are written.
STORAGES = {**STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
