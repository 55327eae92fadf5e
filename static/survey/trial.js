// The trial page, faster: the next pair takes the old one's place at once, while answers go to the server behind the
// scenes. Without this file the page's form does the same work. The browser knows a trial by its token only.
"use strict";

(() => {
  const LONGEST_MS = 86_400_000;
  const LAST_SECONDS = 10;
  const PRELOADED = 2;
  const LEAST_BETWEEN_RELOADS_MS = 10_000;
  const CHOICE_BY_KEY = {
    ArrowLeft: "left", ArrowDown: "same", ArrowRight: "right", 1: "left", 2: "same", 3: "right",
  };

  const page = document.getElementById("trial");
  const form = document.getElementById("answer");
  const buttons = [...form.querySelectorAll("button[name=choice]")];
  const backButton = document.getElementById("back");
  const message = document.getElementById("message");
  const feedback = document.getElementById("feedback");
  const text = page.dataset;
  const initial = JSON.parse(document.getElementById("state").textContent);

  let progress = initial.progress;
  let upcoming = [];
  let current = null; // the trial on the screen
  let revising = false; // whether it is the last one again, to be corrected
  let last = initial.last; // the trial answered last, with its choice
  let doneUrl = initial.done_url ?? null;
  let shownAt = null; // when both images were painted; null while there is nothing to answer
  let showing = null; // what the exposure ledger is told
  let unsent = 0; // answers that count and are not acknowledged yet
  let awaited = null; // token of the practice trial whose feedback is awaited
  let countdown = null;
  const settled = new Set(); // tokens answered or skipped here

  const address = (what, token) => text[what].replace("TOKEN", token);
  const format = (template, values) => template.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const painted = () => new Promise((resolve) => {
    requestAnimationFrame(() => requestAnimationFrame(resolve));
  });

  // "loading": the images are on their way; "ready": both are painted; "sending": the next trial is on its way.
  function setState(state) {
    page.dataset.state = state;
    for (const button of buttons) button.setAttribute("aria-disabled", String(state !== "ready"));
  }

  const outbox = new sameseed.Outbox(text.rater, form.elements.namedItem("csrfmiddlewaretoken").value, {
    onReply: received,
    onRefusal: refused,
    onTrouble: () => { message.textContent = text.textSlow; },
  });
  const pictures = new sameseed.Pictures((trial) => {
    if (trial.token === current?.token && shownAt === null) message.textContent = text.textImage;
  });

  // Trials -----------------------------------------------------------------------------------------------------------

  function advance() {
    current = null;
    const next = upcoming.shift();
    if (next) show(next);
    else if (doneUrl) finish();
    else setState("sending");
  }

  async function finish() {
    setState("sending");
    await outbox.flush();
    if ((await outbox.entries()).length === 0) location.replace(doneUrl);
  }

  async function show(trial, { again = false } = {}) {
    current = trial;
    revising = again;
    shownAt = null;
    // What is there already is swapped in without a moment in between.
    let images;
    try {
      images = await pictures.load(trial);
    } catch {
      if (current === trial) skip("image");
      return;
    }
    if (current !== trial) return;
    setState("loading");
    ["left", "right"].forEach((side, place) => exchange(side, images[place], trial));
    tell(trial);
    await painted();
    if (current === trial) wake(trial);
  }

  function exchange(side, image, trial) {
    const old = document.getElementById(side);
    if (old === image) return;
    for (const { name, value } of old.attributes) {
      if (!["src", "class", "width", "height", "fetchpriority"].includes(name)) image.setAttribute(name, value);
    }
    image.className = trial.small ? "small" : "";
    old.replaceWith(image);
  }

  function tellCount(trial) {
    const number = Math.min(progress.answered + unsent + (revising ? 0 : 1), progress.total);
    const count = trial.practice ? text.textPractice : format(text.textCount, { number, total: progress.total });
    document.getElementById("count").textContent = count;
    Object.assign(document.getElementById("progress"), {
      max: progress.total, value: Math.min(progress.answered + unsent, progress.total),
    });
    return count;
  }

  function tell(trial) {
    form.elements.namedItem("trial").value = trial.token;
    form.elements.namedItem("revises").value = revising ? "1" : "";
    document.getElementById("class-name").textContent = trial.class_name;
    document.getElementById("announcement").textContent = `${tellCount(trial)}: ${trial.class_name}`;
    for (const button of buttons) button.toggleAttribute("data-chosen", revising && button.value === last?.choice);
    for (const button of buttons) button.removeAttribute("aria-pressed");
    backButton.hidden = !last && !revising;
    backButton.textContent = revising ? text.textForward : text.textBack;
  }

  function wake(trial) {
    message.textContent = revising ? text.textRevising : "";
    shownAt = performance.now();
    showing = { key: sameseed.newKey(), shown_at: new Date().toISOString(), focus_losses: 0, painted_at: null };
    showing.painted_at = showing.shown_at;
    setState("ready");
    startCountdown();
    upcoming.slice(0, PRELOADED).forEach((next) => pictures.load(next));
    pictures.forget(trial);
  }

  function measured(answered) {
    const box = document.getElementById("left").getBoundingClientRect();
    return {
      ...showing,
      ...(answered ? { answered_at: new Date().toISOString() } : {}),
      image_width: box.width,
      image_height: box.height,
      pixel_ratio: devicePixelRatio,
      viewport_width: innerWidth,
      viewport_height: innerHeight,
    };
  }

  // Answers ----------------------------------------------------------------------------------------------------------

  async function answer(choice) {
    if (shownAt === null) return;
    if (revising && choice === last.choice) {
      advance();
      return;
    }
    const trial = current;
    const elapsed = Math.round(performance.now() - shownAt);
    const body = { choice, response_ms: elapsed <= LONGEST_MS ? elapsed : null, key: showing.key, showing: measured(true) };
    if (revising) body.revises = true;
    leave();
    feedback.hidden = true;
    buttons.find((button) => button.value === choice).setAttribute("aria-pressed", "true");
    await outbox.put(address("respond", trial.token), trial.token, body);
    settled.add(trial.token);
    unsent += !trial.practice && !revising;
    if (trial.practice) awaited = trial.token;
    else last = { ...trial, choice };
    const sent = outbox.flush();
    if (!awaited) advance();
    await sent;
    // Another tab has sent it, and had the reply: only the server knows what comes next.
    if (current === null && doneUrl === null && (await outbox.entries()).length === 0) location.reload();
  }

  function leave() {
    setState("sending");
    shownAt = null;
    showing = null;
    clearInterval(countdown);
  }

  // The server holds an answer, and says what comes next.
  function received(entry, reply, waiting) {
    progress = reply.progress;
    unsent = waiting.filter((other) => other.body.choice && !other.body.revises).length;
    doneUrl = reply.done_url ?? null;
    const known = new Set([...waiting.map((other) => other.token), ...settled, current?.token]);
    if (!revising) known.add(last?.token);
    upcoming = reply.next.filter((trial) => !known.has(trial.token));
    setTimeLeft(reply.seconds_left);
    if (entry.token === awaited) {
      awaited = null;
      if (reply.feedback) showFeedback(reply.feedback.correct);
      advance();
    } else if (current === null) {
      advance();
    } else if (shownAt !== null) {
      if (!revising) message.textContent = "";
      tellCount(current);
      upcoming.slice(0, PRELOADED).forEach((next) => pictures.load(next));
    }
  }

  function showFeedback(correct) {
    feedback.textContent = correct ? text.textCorrect : text.textWrong;
    feedback.className = correct ? "feedback correct" : "feedback wrong";
    feedback.hidden = false;
  }

  // The server's own page says best why it refuses, and where things stand; but it is not asked over and over.
  function refused(entry, status) {
    const before = Number(sessionStorage.getItem("sameseed-refused"));
    sessionStorage.setItem("sameseed-refused", String(Date.now()));
    if (status === 409) sessionStorage.setItem("sameseed-notice", text.textConflict);
    if (status === 409 || Date.now() - before > LEAST_BETWEEN_RELOADS_MS) location.reload();
    else message.textContent = text.textRefused;
  }

  async function skip(reason) {
    const trial = current;
    const body = { reason, ...(showing ? { showing: measured(false) } : {}) };
    leave();
    if (reason === "image") message.textContent = text.textSkipped;
    await outbox.put(address("skip", trial.token), trial.token, body);
    settled.add(trial.token);
    pictures.forget(trial);
    outbox.flush();
    advance();
  }

  function back() {
    if (revising) {
      leave();
      advance();
    } else if (last && (shownAt !== null || current === null)) {
      if (current !== null) {
        reportUnanswered();
        upcoming.unshift(current);
      }
      leave();
      show(last, { again: true });
    }
  }

  // What was shown and not answered is kept too; sent even while the page goes away.
  function reportUnanswered() {
    if (showing === null || current === null) return;
    fetch(address("expose", current.token), {
      method: "POST",
      keepalive: true,
      credentials: "same-origin",
      headers: { "Content-Type": "application/json", "X-CSRFToken": outbox.csrfToken },
      body: JSON.stringify(measured(false)),
    }).catch(() => {});
  }

  // Time -------------------------------------------------------------------------------------------------------------

  function startCountdown() {
    const limit = Number(text.limit);
    if (!limit || revising) return;
    const shown = shownAt;
    countdown = setInterval(() => {
      if (shownAt !== shown) return;
      const left = limit - Math.floor((performance.now() - shown) / 1000);
      if (left <= 0) skip("timeout");
      else if (left <= LAST_SECONDS) message.textContent = format(text.textSeconds, { left });
    }, 250);
  }

  let over = null;
  function setTimeLeft(seconds) {
    if (seconds === undefined || over !== null) return;
    over = setTimeout(async () => {
      leave();
      await outbox.flush();
      location.reload();
    }, Math.min(seconds * 1000 + 1000, 2 ** 31 - 1));
  }

  // Events -----------------------------------------------------------------------------------------------------------

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (event.submitter?.name === "choice") answer(event.submitter.value);
  });

  backButton.addEventListener("click", (event) => {
    event.preventDefault();
    back();
  });

  addEventListener("keydown", (event) => {
    if (event.repeat || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    const choice = CHOICE_BY_KEY[event.key];
    if (!choice && event.key !== "Backspace") return;
    event.preventDefault();
    if (choice) answer(choice);
    else back();
  });

  let away = false;
  const lostFocus = () => {
    if (!away && showing) showing.focus_losses += 1;
    away = true;
  };
  addEventListener("blur", lostFocus);
  addEventListener("focus", () => { away = false; });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) lostFocus();
    else away = false;
  });
  addEventListener("pagehide", reportUnanswered);
  addEventListener("beforeunload", (event) => {
    if (outbox.onlyInMemory) event.preventDefault();
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });

  // Start ------------------------------------------------------------------------------------------------------------

  async function start() {
    setState("loading");
    setTimeLeft(initial.seconds_left);
    const waiting = await outbox.entries();
    const known = new Set(waiting.map((entry) => entry.token));
    unsent = waiting.filter((entry) => entry.body.choice && !entry.body.revises).length;
    upcoming = initial.next.filter((trial) => !known.has(trial.token));
    advance();
    const notice = sessionStorage.getItem("sameseed-notice");
    sessionStorage.removeItem("sameseed-notice");
    if (notice) showNotice(notice);
    if (waiting.length) await outbox.flush();
    else if (current === null && doneUrl === null) location.reload();
  }

  function showNotice(notice) {
    feedback.textContent = notice;
    feedback.className = "feedback";
    feedback.hidden = false;
  }

  start();
})();
