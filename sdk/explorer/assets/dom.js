// Elements. Everything foreign becomes text or an attribute, never markup, so a tag with HTML in it is just a tag.

const SVG = "http://www.w3.org/2000/svg";
/** Schemes a link may have; what is relative has none. */
const LINKS = /^(https?:|blob:|#|[^:]*$)/i;

/** Characters that are not seen, or that turn the ones around them about: controls but for tab and newline, and marks of direction. */
// eslint-disable-next-line no-control-regex
const UNSEEN = /\r(?!\n)|[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** A text as it can be shown: what is not seen is written out, as `\u{202e}`. */
export const visible = (text) => text.replace(UNSEEN, (letter) => `\\u{${letter.codePointAt(0).toString(16)}}`);

/** Attributes that people read. */
const READ = new Set(["title", "aria-label", "placeholder", "label"]);

/**
 * An element: `h("a.chip", { href, onclick }, "text", otherElement, [more])`.
 *
 * Attributes: functions named `on…` are listeners, `style` is an object of properties, `true` is an empty attribute,
 * `null`, `undefined` and `false` are left out. Children: strings and numbers are text, nothing is skipped.
 */
export function h(name, attributes, ...children) {
  return build(document.createElement.bind(document), name, attributes, children);
}

/** The same for SVG. */
export function s(name, attributes, ...children) {
  return build((tag) => document.createElementNS(SVG, tag), name, attributes, children);
}

function build(create, name, attributes, children) {
  const [tag, ...classes] = name.split(".");
  const element = create(tag);
  if (attributes !== null && typeof attributes === "object" && !(attributes instanceof Node) && !Array.isArray(attributes)) {
    for (const [key, value] of Object.entries(attributes)) set(element, key, value);
  } else if (attributes !== undefined) {
    children = [attributes, ...children];
  }
  if (classes.length > 0) element.classList.add(...classes);
  append(element, children);
  return element;
}

function set(element, key, value) {
  if (value === null || value === undefined || value === false) return;
  if (key.startsWith("on")) {
    // A text would be code: only functions are taken.
    if (typeof value === "function") element.addEventListener(key.slice(2), value);
  } else if (key === "style") {
    for (const [property, setting] of Object.entries(value)) element.style.setProperty(property, setting);
  } else if (key === "href") {
    if (LINKS.test(value)) element.setAttribute(key, value);
  } else if (key === "value" || key === "checked" || key === "disabled") {
    element[key] = value;
  } else {
    element.setAttribute(key, value === true ? "" : READ.has(key) ? visible(String(value)) : String(value));
  }
}

/** Appends children as {@link h} does: texts so that all of them is seen. */
export function append(element, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : visible(String(child)));
  }
  return element;
}

/** Puts `children` in the place of what the element holds. */
export function fill(element, ...children) {
  element.replaceChildren();
  return append(element, children);
}
