// A form marked data-once is sent once, however often its button is pressed.
"use strict";

for (const form of document.querySelectorAll("form[data-once]")) {
  let sent = false;
  form.addEventListener("submit", (event) => {
    if (sent) event.preventDefault();
    sent = true;
  });
  // A page brought back by the Back button may be sent again.
  addEventListener("pageshow", () => { sent = false; });
}
