// Follows a computation and shows its result when it is there. Without scripts the page has a link.
"use strict";

const line = document.querySelector("[data-status]");

async function look() {
  try {
    const answer = await fetch(line.dataset.status, { credentials: "same-origin" });
    if (answer.ok) {
      const found = await answer.json();
      if (found.state !== "running") {
        location.reload();
        return;
      }
      line.querySelector("progress").value = 100 * found.progress;
      line.querySelector("span").textContent = found.stage;
    }
  } catch {
    // The connection may come back: look again.
  }
  setTimeout(look, 1500);
}

if (line) {
  setTimeout(look, 1000);
}
