// The pause page sends what is still waiting, and says when nothing is left.
"use strict";

(() => {
  const stored = document.getElementById("stored");
  const say = (text) => { stored.textContent = text; };
  const token = document.querySelector("input[name=csrfmiddlewaretoken]").value;
  const outbox = new sameseed.Outbox(stored.dataset.rater, token, {
    onReply: () => {},
    onRefusal: () => location.reload(),
    onTrouble: () => say(stored.dataset.waiting),
  });
  outbox.flush().then(() => say(stored.dataset.done));
})();
