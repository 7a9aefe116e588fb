// A small line of numbers over the last minute.

import { s } from "./dom.js";

const WIDTH = 240;
const HEIGHT = 44;

/** Numbers, one a second, of which the last `seconds` are kept. */
export class Minute {
  #values;

  constructor(seconds = 60) {
    this.#values = new Array(seconds).fill(0);
  }

  /** Adds the number of a second that ended. */
  push(value) {
    this.#values.push(value);
    this.#values.shift();
  }

  /** The mean over the last `seconds`. */
  mean(seconds) {
    const last = this.#values.slice(-seconds);
    return last.reduce((sum, value) => sum + value, 0) / last.length;
  }

  /** The highest one. */
  get top() {
    return Math.max(...this.#values);
  }

  /** The numbers, oldest first. */
  get values() {
    return this.#values;
  }
}

/** A picture of numbers that `draw(minute)` renews. */
export function sparkline(label) {
  const area = s("path.area", {});
  const line = s("path.line", {});
  const picture = s("svg.spark", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label }, area, line);
  picture.redraw = (minute) => {
    const { values } = minute;
    const top = Math.max(minute.top, 1);
    const step = WIDTH / (values.length - 1);
    const points = values.map((value, index) => `${(index * step).toFixed(1)} ${(HEIGHT - 2 - (value / top) * (HEIGHT - 6)).toFixed(1)}`);
    line.setAttribute("d", `M${points.join("L")}`);
    area.setAttribute("d", `M0 ${HEIGHT}L${points.join("L")}L${WIDTH} ${HEIGHT}Z`);
  };
  return picture;
}
