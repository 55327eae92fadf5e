"""Which Chromium the browser tests drive, and a tap on all that it sends and gets."""

import os
import shutil
from pathlib import Path

from playwright.sync_api import BrowserContext, ConsoleMessage, Error, Playwright, Request, Response, WebError

REMEDY = "no Chromium found: run `make setup`, install the package chromium, or set SAMESEED_CHROMIUM to its path"
ARGUMENTS = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]


def executable(playwright: Playwright) -> str:
    """Return the browser's path: the one that is named, the system's, or Playwright's own.

    Raises:
        FileNotFoundError: There is none; the message says how to get one.
    """
    if named := os.environ.get("SAMESEED_CHROMIUM"):
        if shutil.which(named) is None:
            raise FileNotFoundError(f"SAMESEED_CHROMIUM names {named}, which cannot be run: correct or unset it")
        return named
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    own = playwright.chromium.executable_path
    if not Path(own).exists():
        raise FileNotFoundError(REMEDY)
    return own


class Tap:
    """Everything that a browser context sends and gets, as bytes to search."""

    def __init__(self, context: BrowserContext) -> None:
        self._context = context
        self.seen: list[bytes] = []
        self.missed: list[str] = []
        self.requests: list[Request] = []
        self.errors: list[str] = []
        self._waiting: list[Response] = []

        def on_request(request: Request) -> None:
            self.requests.append(request)

        def on_response(response: Response) -> None:
            self._waiting.append(response)

        def on_console(message: ConsoleMessage) -> None:
            if message.type == "error":
                self.errors.append(message.text)

        def on_error(error: WebError) -> None:
            self.errors.append(str(error.error))

        context.on("request", on_request)
        context.on("response", on_response)
        context.on("console", on_console)
        context.on("weberror", on_error)

    def collect(self) -> None:
        """Read what has arrived since the last call; to be called before the page is left.

        Of images, styles and scripts the heads alone are kept: the browser drops their bodies early. The first have a
        test of their own that reads each byte, the others are the same for all.
        """
        for page in self._context.pages:
            page.wait_for_load_state()
        waiting, self._waiting[:] = list(self._waiting), []
        for response in waiting:
            request = response.request
            head = [request.url, request.post_data or "", str(request.all_headers()), str(response.all_headers())]
            self.seen.append("\n".join(head).encode())
            if not 300 <= response.status < 400 and request.resource_type in {"document", "fetch"}:
                self._keep_body(response)

    def _keep_body(self, response: Response) -> None:
        try:
            self.seen.append(response.body())
        except Error:
            self.missed.append(response.url)
