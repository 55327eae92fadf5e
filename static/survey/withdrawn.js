// What was still waiting to be sent is withdrawn as well.
"use strict";

new sameseed.Outbox(document.getElementById("withdrawn").dataset.rater, "", {}).clear();
