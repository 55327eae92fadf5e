// A pair's two images, fetched and decoded; a few at a time, in the order in which they are asked for.
"use strict";

sameseed.BrokenImage = class extends Error {};

sameseed.Pictures = class {
  static #AT_ONCE = 2;
  static #BROKEN_TRIES = 3;

  constructor(onTrouble) {
    this.onTrouble = onTrouble; // called with the trial whose image has not come yet
    this.pairs = new Map(); // token -> promise of [left, right]
    this.running = 0;
    this.waiting = [];
  }

  // Returns the decoded images of a trial; rejects with BrokenImage if one cannot be shown.
  load(trial) {
    if (!this.pairs.has(trial.token)) {
      const images = ["left", "right"].map((side) => this.#inTurn(() => this.#fetch(trial, side)));
      const pair = Promise.all(images);
      pair.catch(() => {}); // whoever shows the pair hears of it
      this.pairs.set(trial.token, pair);
    }
    return this.pairs.get(trial.token);
  }

  forget(trial) {
    this.pairs.delete(trial.token);
  }

  async #inTurn(work) {
    if (this.running >= this.constructor.#AT_ONCE) await new Promise((resolve) => { this.waiting.push(resolve); });
    this.running += 1;
    try {
      return await work();
    } finally {
      this.running -= 1;
      this.waiting.shift()?.();
    }
  }

  async #fetch(trial, side) {
    let broken = 0;
    for (let attempt = 0; ; attempt += 1) {
      const image = new Image();
      try {
        image.src = trial[side];
        await image.decode();
        return image;
      } catch {
        broken += await this.#isBroken(trial[side]);
      }
      if (broken >= this.constructor.#BROKEN_TRIES) throw new sameseed.BrokenImage(side);
      this.onTrouble(trial);
      await sameseed.backOff(attempt);
    }
  }

  // A lost network or a failing server says nothing about the image; a refusal, or a reply that is no image, does.
  async #isBroken(address) {
    try {
      const response = await fetch(address, { cache: "reload", credentials: "same-origin" });
      return response.status < 500 && ![408, 425, 429].includes(response.status);
    } catch {
      return false;
    }
  }
};
