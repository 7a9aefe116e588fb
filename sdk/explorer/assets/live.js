// Following what happens: server-sent events where a unit has them, else asking again and again; and nothing at all
// while nobody looks at the page.

/** Pause between two questions to a unit that has no events, in milliseconds. */
const POLL_MS = 2_500;

/**
 * Follows events until `signal` is aborted.
 *
 * `source()` gives the URL, so that it can continue where it was; `events` are functions by event name that get the parsed
 * data; `state(word)` hears `"live"`, `"polling"`, `"waiting"` or `"paused"`; `poll()` is asked instead when the unit has
 * no events; `gap()` when events may have been missed.
 */
export function follow(source, { events, state = () => {}, poll, gap = () => {}, signal }) {
  let stream = null;
  let opened = false;
  let without = false;

  function open() {
    close();
    if (signal.aborted) return;
    if (document.hidden) return state("paused");
    if (without) return state("polling");
    state("waiting");
    stream = new EventSource(source());
    stream.onopen = () => {
      if (opened) gap();
      opened = true;
      state("live");
    };
    stream.onerror = () => {
      if (stream?.readyState !== EventSource.CLOSED) return state("waiting");
      // The unit answered, but not with events: it has none.
      close();
      without = true;
      state(poll ? "polling" : "waiting");
    };
    for (const [name, act] of Object.entries(events)) {
      stream.addEventListener(name, (event) => {
        let data;
        try {
          data = JSON.parse(event.data);
        } catch {
          return;
        }
        act(data);
      });
    }
  }

  function close() {
    stream?.close();
    stream = null;
  }

  const seen = () => {
    if (document.hidden) {
      close();
      state("paused");
    } else {
      open();
    }
  };
  document.addEventListener("visibilitychange", seen);
  signal.addEventListener("abort", () => {
    close();
    document.removeEventListener("visibilitychange", seen);
  });
  if (poll) every(POLL_MS, () => (without ? poll() : undefined), signal);
  open();
}

/** Calls `work` now and again `ms` after it ended, while the page is seen, until `signal` is aborted. */
export function every(ms, work, signal) {
  let timer = 0;
  const turn = async () => {
    if (!document.hidden) {
      try {
        await work();
      } catch (error) {
        if (!signal.aborted) console.warn(error);
      }
    }
    if (!signal.aborted) timer = setTimeout(turn, ms);
  };
  signal.addEventListener("abort", () => clearTimeout(timer));
  turn();
}

/** Runs tasks a few at a time, newest first: what is looked at now comes before what was scrolled past. */
export class Turns {
  #free;
  #waiting = [];

  constructor(atOnce) {
    this.#free = atOnce;
  }

  /** Runs `work` when it is its turn; a task whose `signal` is aborted by then is dropped. */
  run(work, signal) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ work, signal, resolve, reject });
      this.#next();
    });
  }

  async #next() {
    if (this.#free === 0) return;
    const task = this.#waiting.pop();
    if (!task) return;
    if (task.signal?.aborted) {
      task.reject(task.signal.reason);
      return this.#next();
    }
    this.#free -= 1;
    try {
      task.resolve(await task.work());
    } catch (error) {
      task.reject(error);
    }
    this.#free += 1;
    this.#next();
  }
}
