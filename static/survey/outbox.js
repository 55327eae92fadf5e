// Answers on their way. Each is written to IndexedDB before anything else happens, and leaves it when the server has said
// that it holds it: a lost network, a failing server, a closed tab or a second click cannot lose or double it.
"use strict";

const sameseed = {};

sameseed.FIRST_WAIT_MS = 500;
sameseed.LONGEST_WAIT_MS = 15_000;
sameseed.PATIENCE_MS = 20_000;

// Waits longer each time, with some chance so that many browsers do not come back at once; a returning network ends it.
sameseed.backOff = (attempt) => new Promise((resolve) => {
  const longest = Math.min(sameseed.FIRST_WAIT_MS * 2 ** attempt, sameseed.LONGEST_WAIT_MS);
  setTimeout(resolve, longest * (0.75 + 0.25 * Math.random()));
  addEventListener("online", resolve, { once: true });
});

sameseed.newKey = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
};

sameseed.Outbox = class {
  static #STORE = "entries";

  // rater: a name for whose answers these are. A browser that several raters share keeps them apart.
  constructor(rater, csrfToken, { onReply, onRefusal, onTrouble }) {
    this.rater = rater;
    this.csrfToken = csrfToken;
    this.handlers = { onReply, onRefusal, onTrouble };
    this.tab = sameseed.newKey();
    this.adopted = null; // what an earlier tab left; another tab that is open now sends its own
    this.memory = []; // used where the browser offers no IndexedDB
    this.database = this.#open().catch(() => null);
    this.flushing = null;
  }

  #open() {
    return new Promise((resolve, reject) => {
      const request = indexedDB.open("sameseed", 1);
      request.onupgradeneeded = () => {
        const store = request.result.createObjectStore(this.constructor.#STORE, { keyPath: "id", autoIncrement: true });
        store.createIndex("rater", "rater");
      };
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
      request.onblocked = () => reject(new Error("blocked"));
    });
  }

  async #transact(mode, work) {
    const database = await this.database;
    return new Promise((resolve, reject) => {
      const transaction = database.transaction(this.constructor.#STORE, mode, { durability: "strict" });
      const request = work(transaction.objectStore(this.constructor.#STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  }

  async put(url, token, body) {
    await this.#adopt();
    const entry = { rater: this.rater, tab: this.tab, url, token, body };
    try {
      if (await this.database) {
        await this.#transact("readwrite", (store) => store.add(entry));
        return;
      }
    } catch {
      // A full or failing disk: the answer is kept here, and the page asks before it closes.
    }
    this.memory.push(entry);
  }

  async entries() {
    if (!await this.database) return [...this.memory];
    await this.#adopt();
    const kept = await this.#kept();
    const ours = kept.filter((entry) => entry.tab === this.tab || this.adopted.has(entry.id));
    return [...ours.sort((one, other) => one.id - other.id), ...this.memory];
  }

  #kept() {
    return this.#transact("readonly", (store) => store.index("rater").getAll(this.rater));
  }

  // Once, before anything of this tab's own: a tab that is open sends its answers itself, for it waits for the replies.
  async #adopt() {
    if (this.adopted || !await this.database) return;
    const kept = await this.#kept();
    this.adopted ??= new Set(kept.map((entry) => entry.id));
  }

  async remove(entry) {
    this.memory = this.memory.filter((other) => other !== entry);
    if (entry.id !== undefined) await this.#transact("readwrite", (store) => store.delete(entry.id));
  }

  async clear() {
    for (const entry of await this.entries()) await this.remove(entry);
  }

  get onlyInMemory() {
    return this.memory.length > 0;
  }

  // Sends what there is, oldest first, until nothing is left or the server refuses. Two tabs take turns.
  flush() {
    this.flushing ??= this.#inTurn(() => this.#sendAll()).finally(() => { this.flushing = null; });
    return this.flushing;
  }

  #inTurn(work) {
    return navigator.locks ? navigator.locks.request(`sameseed-${this.rater}`, work) : work();
  }

  async #sendAll() {
    for (;;) {
      const [entry] = await this.entries();
      if (!entry) return;
      const response = await this.#deliver(entry);
      if (!response.ok) {
        // The server has another answer, or can make nothing of this one: it would be refused for ever. Anything else
        // (a closed study, an expired page) may change, and the answer stays.
        if ([400, 404, 409].includes(response.status)) await this.remove(entry);
        this.handlers.onRefusal(entry, response.status);
        return;
      }
      await this.remove(entry);
      this.handlers.onReply(entry, response.body, await this.entries());
    }
  }

  // Sends until the server has answered; sending twice stores once, for the body has a key.
  async #deliver(entry) {
    for (let attempt = 0; ; attempt += 1) {
      try {
        const response = await fetch(entry.url, {
          method: "POST",
          credentials: "same-origin",
          headers: { "Content-Type": "application/json", "X-CSRFToken": this.csrfToken },
          body: JSON.stringify(entry.body),
          signal: AbortSignal.timeout?.(sameseed.PATIENCE_MS),
        });
        if (response.ok) return { ok: true, body: await response.json() };
        if (response.status < 500 && ![408, 425, 429].includes(response.status)) return response;
      } catch {
        // No connection, no reply in time, or half a reply: try again.
      }
      this.handlers.onTrouble();
      await sameseed.backOff(attempt);
    }
  }
};
