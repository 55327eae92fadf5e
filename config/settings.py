"""Settings, read from the environment; the defaults serve one machine.

| variable | default | meaning |
| --- | --- | --- |
| SAMESEED_DATA | ./data | database, generated pairs, secret key, collected static files |
| DATABASE_URL | SQLite in SAMESEED_DATA | `postgres://user:password@host:port/name` |
| SAMESEED_SECRET_KEY | made once, kept in SAMESEED_DATA | signs cookies |
| SAMESEED_DEBUG | 0 | 1 shows tracebacks; never in public |
| SAMESEED_HOSTS | localhost,127.0.0.1,[::1] | names that the site answers to |
| SAMESEED_HTTPS | 0 | 1 behind a TLS proxy: secure cookies, HSTS, redirect |
| SAMESEED_IMAGES | on disk | `s3://bucket/folder`: raters' images come from there (see `upload_images`) |
| SAMESEED_S3_ENDPOINT | Amazon's | `https://host` of another S3-compatible store |
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from django.core.management.utils import get_random_secret_key

BASE_DIR = Path(__file__).resolve().parent.parent


def _flag(name: str) -> bool:
    return os.environ.get(name, "0").lower() in {"1", "true", "yes", "on"}


DATA_DIR = Path(os.environ.get("SAMESEED_DATA", BASE_DIR / "data")).resolve()


def _secret_key() -> str:
    """Return the key from the environment, or the one kept in DATA_DIR, made on first use."""
    if key := os.environ.get("SAMESEED_SECRET_KEY"):
        return key
    path = DATA_DIR / "secret_key"
    DATA_DIR.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        file.write(key := get_random_secret_key())
    return key


SECRET_KEY = _secret_key()
DEBUG = _flag("SAMESEED_DEBUG")
ALLOWED_HOSTS = os.environ.get("SAMESEED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "rest_framework",
    "rest_framework.authtoken",
    "drf_spectacular",
    "generation",
    "survey",
    "analysis",
    "config",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "config.middleware.ContentSecurityPolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]

AUTHENTICATION_BACKENDS = ["axes.backends.AxesBackend", "django.contrib.auth.backends.ModelBackend"]

# Staff who mistype a password ten times wait a quarter of an hour, by name and not by address: a laboratory shares one,
# and addresses are stored nowhere.
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = ["username"]
AXES_RESET_ON_SUCCESS = True
AXES_DISABLE_ACCESS_LOG = True
AXES_CLIENT_IP_CALLABLE = "config.privacy.no_address"
AXES_CLIENT_STR_CALLABLE = "config.privacy.username_only"
AXES_VERBOSE = False
SILENCED_SYSTEM_CHECKS = ["axes.W006"]  # which asks for the address

ROOT_URLCONF = "config.urls"
CSRF_FAILURE_VIEW = "config.errors.csrf_failure"
WSGI_APPLICATION = "config.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]


def _database() -> dict[str, Any]:
    """Return the database's settings; SQLite gets WAL and immediate transactions, in turn, for its writers.

    `?prepare_threshold=` in DATABASE_URL says after how many runs PostgreSQL prepares a statement.
    """
    default = f"sqlite:///{DATA_DIR / 'db.sqlite3'}"
    database: dict[str, Any] = dict(dj_database_url.config(default=default, conn_max_age=60))
    if database["ENGINE"] == "django.db.backends.sqlite3":
        DATA_DIR.mkdir(parents=True, exist_ok=True)
        database["ENGINE"] = "config.sqlite"
        database["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            # With `sync_together` a commit is on the disk when it returns, as with FULL; see config/sqlite/base.py.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            "sync_together": True,
        }
    elif database["ENGINE"] == "django.db.backends.postgresql":
        # What runs at each answer is planned once for each connection; see survey/prepared.py.
        database.setdefault("OPTIONS", {}).setdefault("prepare_threshold", 0)
    return database


DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "admin:login"

# How report pages start what takes long; see analysis/launch.py.
SAMESEED_LAUNCHER = "analysis.launch.in_child"

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("ar", "العربية")]
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    # Compressed once, and named by their content: browsers keep them for ever and get a new name with a new version.
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}


def _image_store() -> dict[str, Any]:
    """Return where raters' images are kept: in no store, but on disk, or in a bucket.

    Credentials and region are boto3's own affair: AWS_ACCESS_KEY_ID and its kin, a profile, or the machine's role.
    """
    address = os.environ.get("SAMESEED_IMAGES", "")
    if not address:
        return {}
    parts = urlsplit(address)
    if parts.scheme != "s3" or not parts.netloc:
        raise ImproperlyConfigured(f"SAMESEED_IMAGES is '{address}': give s3://bucket/folder, or leave it out for disk")
    from botocore.config import Config  # noqa: PLC0415 (large, and seldom needed)

    endpoint = os.environ.get("SAMESEED_S3_ENDPOINT") or None
    connection = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if endpoint else "auto"},
        connect_timeout=5,
        read_timeout=15,
        retries={"max_attempts": 3, "mode": "standard"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    options = {"bucket_name": parts.netloc, "location": parts.path.strip("/"), "endpoint_url": endpoint}
    return {"images": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options | {"client_config": connection}}}


STORAGES |= _image_store()

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True  # scripts take the token from the page
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if _flag("SAMESEED_HTTPS"):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "EXCEPTION_HANDLER": "survey.api.errors.handle_exception",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Sameseed",
    "DESCRIPTION": "Studies, pairs, progress and exports for staff's scripts, and a front end of one's own for raters.",
    "VERSION": "1",
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "ENABLE_DJANGO_DEPLOY_CHECK": False,
}
