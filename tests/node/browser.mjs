// A headless Chromium, driven over the DevTools protocol through a pipe: pages that click, type and wait as people do.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Longest wait for something to become true on a page, in milliseconds. */
const PATIENCE_MS = 30_000;
/** Pause between two looks. */
const STEP_MS = 40;
/** Longest wait for one answer of the browser. */
const ANSWER_MS = 60_000;
/** Longest the browser may take to end by itself, and its files to be gone. */
const CLOSE_MS = 5_000;

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-extensions",
  "--remote-debugging-pipe",
];

/** A browser with an empty profile that goes with it. */
export class Browser {
  #child;
  #profile;
  #asked = new Map();
  #last = 0;
  #pages = new Map();

  constructor(program) {
    this.#profile = mkdtempSync(join(tmpdir(), "holon-browser-"));
    this.#child = spawn(program, [...FLAGS, `--user-data-dir=${this.#profile}`], { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
    this.#child.on("error", (error) => this.#fail(error));
    this.#child.on("exit", (code) => this.#fail(new Error(`the browser ended with ${code}`)));
    this.#child.stdio[3].on("error", () => {});
    let rest = "";
    this.#child.stdio[4].setEncoding("utf8").on("data", (text) => {
      const told = (rest + text).split("\0");
      rest = told.pop();
      for (const one of told) this.#hear(JSON.parse(one));
    });
  }

  #fail(error) {
    for (const { reject } of this.#asked.values()) reject(error);
    this.#asked.clear();
  }

  #hear(told) {
    if (told.id === undefined) return this.#pages.get(told.sessionId)?.hear(told.method, told.params);
    const asked = this.#asked.get(told.id);
    this.#asked.delete(told.id);
    if (told.error) asked?.reject(new Error(`${asked.method}: ${told.error.message}`));
    else asked?.resolve(told.result);
    return undefined;
  }

  /** Asks the browser, or one of its pages. */
  ask(method, params = {}, sessionId) {
    return new Promise((resolve, reject) => {
      const id = ++this.#last;
      const timer = setTimeout(() => reject(new Error(`${method} was not answered within ${ANSWER_MS} ms`)), ANSWER_MS);
      const done = (act) => (value) => {
        clearTimeout(timer);
        act(value);
      };
      this.#asked.set(id, { method, resolve: done(resolve), reject: done(reject) });
      this.#child.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
  }

  /** A new page. */
  async page({ width = 1280, height = 900 } = {}) {
    const { targetId } = await this.ask("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await this.ask("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page(
      (method, params) => this.ask(method, params, sessionId),
      () => this.ask("Target.closeTarget", { targetId }),
    );
    this.#pages.set(sessionId, page);
    for (const domain of ["Runtime", "Log", "Page", "Network"]) await page.ask(`${domain}.enable`);
    await page.resize(width, height);
    return page;
  }

  /** Ends the browser. */
  async close() {
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.ask("Browser.close").catch(() => {});
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), CLOSE_MS);
    await ended;
    clearTimeout(timer);
    // Processes of it may still write for a moment.
    for (let left = CLOSE_MS / STEP_MS; ; left -= 1) {
      try {
        rmSync(this.#profile, { recursive: true, force: true });
        return;
      } catch (error) {
        if (left <= 0) throw error;
        await new Promise((resolve) => setTimeout(resolve, STEP_MS));
      }
    }
  }
}

/** A page. What goes wrong on it by itself is in `complaints`, every address it asked for in `requests`. */
export class Page {
  complaints = [];
  requests = [];

  constructor(ask, close) {
    this.ask = ask;
    this.close = close;
  }

  hear(method, params) {
    if (method === "Runtime.exceptionThrown") {
      const { exception, text } = params.exceptionDetails;
      this.complaints.push(exception?.description ?? text);
    } else if (method === "Runtime.consoleAPICalled" && ["error", "warning"].includes(params.type)) {
      this.complaints.push(params.args.map((arg) => arg.value ?? arg.description).join(" "));
    } else if (method === "Log.entryAdded" && params.entry.level === "error" && params.entry.source !== "network") {
      this.complaints.push(params.entry.text);
    } else if (method === "Network.requestWillBeSent") {
      this.requests.push(params.request.url);
    } else if (method === "Page.javascriptDialogOpening") {
      this.complaints.push(`a dialog opened: ${params.message}`);
      this.ask("Page.handleJavaScriptDialog", { accept: false }).catch(() => {});
    }
  }

  async resize(width, height) {
    await this.ask("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: false });
  }

  /** Sets what the user's system prefers, such as `{ "prefers-color-scheme": "dark" }`. */
  async prefer(features) {
    await this.ask("Emulation.setEmulatedMedia", { features: Object.entries(features).map(([name, value]) => ({ name, value })) });
  }

  /** Goes to an address, also when only its fragment is another. */
  async go(url) {
    const before = await this.run(() => location.href);
    await this.ask("Page.navigate", { url });
    // A new document is another one; the same one has the new fragment at once.
    const [old, now] = [before, url].map((address) => address.split("#")[0]);
    if (old !== now) await this.until("the page is there", (wanted) => document.readyState === "complete" && location.href.startsWith(wanted), now);
  }

  /** What a function gives on the page. Arguments must be JSON. */
  async run(work, ...args) {
    const expression = `(${work})(...${JSON.stringify(args)})`;
    const { result, exceptionDetails } = await this.ask("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true, userGesture: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** Waits until a function gives something true on the page, and gives that. */
  async until(what, work, ...args) {
    const end = Date.now() + PATIENCE_MS;
    for (;;) {
      const found = await this.run(work, ...args).catch((error) => {
        // A page that goes elsewhere answers once it is there.
        if (!/navigated|context/.test(error.message)) throw error;
      });
      if (found) return found;
      if (Date.now() > end) throw new Error(`waited ${PATIENCE_MS} ms in vain until ${what}; the page says:\n${await this.text()}`);
      await new Promise((resolve) => setTimeout(resolve, STEP_MS));
    }
  }

  /** What can be read. */
  text(selector = "body") {
    return this.run((where) => document.querySelector(where)?.innerText ?? "", selector);
  }

  /** Waits until a text can be read. */
  reads(text, selector = "body") {
    return this.until(`"${text}" can be read in ${selector}`, (where, wanted) => document.querySelector(where)?.innerText.includes(wanted), selector, text);
  }

  /** Clicks with the mouse on what a selector finds, or on the button or link with a text. */
  async click(wanted) {
    const place = await this.until(`"${wanted}" can be clicked`, (what) => {
      const named = [...document.querySelectorAll("a, button, summary, label")].find((element) => element.innerText?.trim() === what && !element.disabled);
      let element = named;
      try {
        element ??= document.querySelector(what);
      } catch {
        // A text that is no selector.
      }
      if (!element || element.disabled) return null;
      element.scrollIntoView({ block: "center", inline: "center" });
      const { x, y, width, height } = element.getBoundingClientRect();
      if (width === 0 || height === 0) return null;
      const at = { x: x + width / 2, y: y + height / 2 };
      // Something else may lie on it, or it may be about to move.
      const top = document.elementFromPoint(at.x, at.y);
      return top && (element.contains(top) || top.contains(element)) ? at : null;
    }, wanted);
    for (const type of ["mouseMoved", "mousePressed", "mouseReleased"]) {
      await this.ask("Input.dispatchMouseEvent", { type, ...place, button: type === "mouseMoved" ? "none" : "left", clickCount: 1 });
    }
  }

  /** Types a text where the focus is. */
  async type(text) {
    await this.ask("Input.insertText", { text });
  }

  /** Presses a key such as `Enter`, `Tab` or `/`. */
  async press(key) {
    const codes = { Enter: 13, Tab: 9, Escape: 27 };
    const text = key === "Enter" ? "\r" : key.length === 1 ? key : undefined;
    const common = { key, code: key.length === 1 ? undefined : key, windowsVirtualKeyCode: codes[key] };
    await this.ask("Input.dispatchKeyEvent", { type: text ? "keyDown" : "rawKeyDown", text, ...common });
    await this.ask("Input.dispatchKeyEvent", { type: "keyUp", ...common });
  }

  /** Writes a picture of what is seen. */
  async picture(path) {
    const { data } = await this.ask("Page.captureScreenshot", { format: "png" });
    writeFileSync(path, Buffer.from(data, "base64"));
  }
}
