"""How gunicorn serves the site; `quickstart` gives the address and the number of workers."""

from importlib import import_module
from pathlib import Path

# The site is loaded once and shared by the workers, which fork from it: less memory, and a fault shows at once.
preload_app = True
worker_class = "gthread"
threads = 4
timeout = 60
graceful_timeout = 10
keepalive = 5
# Workers show that they live by touching a file; on a slow disk that can stall them.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
# No access log: raters' addresses are nobody's business.
accesslog = None
errorlog = "-"
loglevel = "warning"


def when_ready(_server: object) -> None:
    """Load the views too, which Django would leave to each worker's first request."""
    import_module("config.urls")
