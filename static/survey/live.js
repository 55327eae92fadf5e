// Keeps the dashboard up to date: the figures are fetched anew every minute while the page is looked at.
"use strict";

(() => {
  const EVERY_MS = 60_000;
  const figures = document.getElementById("figures");

  async function renew() {
    if (document.hidden) return;
    try {
      const response = await fetch(location.href, { credentials: "same-origin" });
      if (!response.ok) return;
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      figures.replaceChildren(...page.getElementById("figures").childNodes);
    } catch {
      // The next minute may be better.
    }
  }

  setInterval(renew, EVERY_MS);
})();
