// The trial page, faster: answers go to the API and the next pair takes the old one's place. Without this file the
// page's form does the same work. The browser knows a trial by its token only.
"use strict";

(() => {
  const LONGEST_MS = 86_400_000;
  const FIRST_WAIT_MS = 500;
  const LONGEST_WAIT_MS = 15_000;
  const PATIENCE_MS = 20_000;
  const CHOICE_BY_KEY = {
    ArrowLeft: "left", ArrowDown: "same", ArrowRight: "right", 1: "left", 2: "same", 3: "right",
  };

  const trial = document.getElementById("trial");
  const form = document.getElementById("answer");
  const token = form.elements.namedItem("trial");
  const buttons = [...form.querySelectorAll("button[name=choice]")];
  const message = document.getElementById("message");
  const loading = new Map(); // token -> promise of the pair's two decoded images

  let shownAt = null; // when both images were painted; null while there is nothing to answer
  let unsent = false;

  const wait = (ms) => new Promise((resolve) => {
    setTimeout(resolve, ms);
    addEventListener("online", resolve, { once: true });
  });
  const backOff = (attempt) => wait(Math.min(FIRST_WAIT_MS * 2 ** attempt, LONGEST_WAIT_MS));
  const painted = () => new Promise((resolve) => {
    requestAnimationFrame(() => requestAnimationFrame(resolve));
  });

  // "loading": the images are on their way; "ready": both are painted; "sending": the answer is on its way.
  function setState(state) {
    trial.dataset.state = state;
    for (const button of buttons) button.setAttribute("aria-disabled", String(state !== "ready"));
  }

  // Images -----------------------------------------------------------------------------------------------------------

  async function decoded(image, address) {
    for (let attempt = 0; ; attempt += 1) {
      try {
        await image.decode();
        return image;
      } catch {
        if (shownAt === null) message.textContent = "An image has not arrived yet. Trying again…";
        await backOff(attempt);
        image.src = address;
      }
    }
  }

  function load(next) {
    if (!loading.has(next.token)) {
      const pair = ["left", "right"].map((side) => {
        const image = document.getElementById(side).cloneNode();
        image.className = next.small ? "small" : "";
        image.src = next[side];
        return decoded(image, next[side]);
      });
      loading.set(next.token, Promise.all(pair));
    }
    return loading.get(next.token);
  }

  async function wake() {
    await painted();
    message.textContent = "";
    setState("ready");
    shownAt = performance.now();
  }

  async function show(reply) {
    const [next, ...later] = reply.next;
    const images = load(next);
    later.forEach(load);
    const decodedImages = await images;
    setState("loading"); // no longer dimmed, when the new images come in
    for (const image of decodedImages) document.getElementById(image.id).replaceWith(image);
    loading.delete(next.token);

    const { answered, total } = reply.progress;
    const count = `${answered + 1} of ${total}`;
    token.value = next.token;
    document.getElementById("class-name").textContent = next.class_name;
    document.getElementById("count").textContent = count;
    Object.assign(document.getElementById("progress"), { max: total, value: answered });
    document.getElementById("announcement").textContent = `${count}: ${next.class_name}`;
    for (const button of buttons) button.removeAttribute("aria-pressed");
    await wake();
  }

  // Answers ----------------------------------------------------------------------------------------------------------

  function post(choice, responseMs) {
    return fetch(trial.dataset.respond.replace("TOKEN", token.value), {
      method: "POST",
      credentials: "same-origin",
      headers: {
        "Content-Type": "application/json",
        "X-CSRFToken": form.elements.namedItem("csrfmiddlewaretoken").value,
      },
      body: JSON.stringify({ choice, response_ms: responseMs }),
      signal: AbortSignal.timeout?.(PATIENCE_MS),
    });
  }

  // Sends until the server has said that it holds the answer; sending it twice stores it once. Returns null if the
  // server will not have it.
  async function deliver(choice, responseMs) {
    for (let attempt = 0; ; attempt += 1) {
      try {
        const response = await post(choice, responseMs);
        if (response.ok) return await response.json();
        if (response.status < 500 && response.status !== 408 && response.status !== 429) return null;
      } catch {
        // No connection, no reply in time, or half a reply: try again.
      }
      message.textContent = "The connection is slow. Your answer is kept here and will be sent.";
      await backOff(attempt);
    }
  }

  // The server's own page says best why it refuses: send the form the plain way.
  function submitPlainly(choice, responseMs) {
    const field = Object.assign(document.createElement("input"), { type: "hidden", name: "choice", value: choice });
    form.elements.namedItem("response_ms").value = responseMs ?? "";
    form.append(field);
    form.submit();
  }

  async function answer(choice) {
    if (shownAt === null) return;
    const elapsed = Math.round(performance.now() - shownAt);
    const responseMs = elapsed <= LONGEST_MS ? elapsed : null;
    shownAt = null;
    unsent = true;
    setState("sending");
    buttons.find((button) => button.value === choice).setAttribute("aria-pressed", "true");
    const reply = await deliver(choice, responseMs);
    unsent = false;
    if (reply === null) submitPlainly(choice, responseMs);
    else if (reply.done_url) location.replace(reply.done_url);
    else await show(reply);
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (event.submitter) answer(event.submitter.value);
  });

  addEventListener("keydown", (event) => {
    if (event.repeat || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    const choice = CHOICE_BY_KEY[event.key];
    if (!choice) return;
    event.preventDefault();
    answer(choice);
  });

  addEventListener("beforeunload", (event) => {
    if (unsent) event.preventDefault();
  });

  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });

  setState("loading");
  Promise.all(["left", "right"].map((side) => {
    const image = document.getElementById(side);
    return decoded(image, image.getAttribute("src"));
  })).then(wake);
})();
