// Brings the next pairs as the end of the wall comes near. Without scripts its link leads to them.
"use strict";

const wall = document.querySelector(".wall");
const told = document.querySelector("[data-wall]");
const AHEAD = "800px";

async function bring(place) {
  const link = place.querySelector("a");
  link.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(link.dataset.more, { credentials: "same-origin", redirect: "error" });
    if (!answer.ok) {
      throw new Error(String(answer.status));
    }
    const next = document.createElement("template");
    next.innerHTML = await answer.text();
    place.replaceWith(next.content);
    told.textContent = "";
    watch();
  } catch {
    // The link stays, and may be followed.
    link.removeAttribute("aria-busy");
    told.textContent = "The next pairs could not be loaded; follow the link to try again.";
  }
}

const observer = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        observer.unobserve(entry.target);
        bring(entry.target);
      }
    }
  },
  { rootMargin: AHEAD },
);

function watch() {
  const place = wall.querySelector(".more");
  if (place) {
    observer.observe(place);
  }
}

if (wall) {
  watch();
}
