// The page around the views: header, search, theme, settings, and which view an address shows.

import { fill, h, visible } from "./dom.js";
import { UNITS, addressWith, baseUrl, discover, network } from "./network.js";
import { empty, failure, icons, isId, renewTimes } from "./show.js";
import { every } from "./live.js";
import { openId } from "./views/find.js";
import { message } from "./views/message.js";
import { overview } from "./views/overview.js";
import { process } from "./views/process.js";
import { processes } from "./views/processes.js";
import { send } from "./views/send.js";

const THEME = "holon-explorer-theme";

const ROUTES = [
  [/^\/?$/, overview],
  [/^\/processes$/, processes],
  [/^\/process\/([^/]+)(?:\/([a-z]+))?$/, process],
  [/^\/message\/([^/]+)$/, message],
  [/^\/send$/, send],
  [/^\/find\/(.+)$/, openId],
];

const LINKS = [
  ["#/", "Overview"],
  ["#/processes", "Processes"],
  ["#/send", "Send"],
];

const main = h("main", { id: "main", tabindex: "-1" });
const links = LINKS.map(([href, name]) => h("a", { href }, name));
let leaving = new AbortController();

function header() {
  const field = h("input", {
    type: "search",
    placeholder: "Process, message or name",
    "aria-label": "Find a process or message by id, or a process by name",
    spellcheck: "false",
    autocomplete: "off",
  });
  const search = h(
    "form.search",
    {
      role: "search",
      onsubmit: (event) => {
        event.preventDefault();
        const text = field.value.trim();
        if (text === "") return;
        location.hash = isId(text) ? `#/find/${text}` : `#/processes?search=${encodeURIComponent(text)}`;
        field.value = "";
        field.blur();
      },
    },
    icons.search(),
    field,
    h("kbd", { "aria-hidden": "true" }, "/"),
  );
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? "");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      field.focus();
    }
  });
  return h(
    "header.top",
    h("a.mark", { href: "#/", "aria-label": "holon explorer, overview" }, h("img", { src: "mark.svg", alt: "", width: 24, height: 24 }), h("b", "holon")),
    h("nav", { "aria-label": "Views" }, links),
    search,
    themeButton(),
    h("button.icon-button", { type: "button", title: "Units", "aria-label": "Units this page talks to", onclick: settings }, icons.gear()),
  );
}

function themeButton() {
  const button = h("button.icon-button", { type: "button", title: "Light or dark" });
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const show = () => {
    const chosen = stored();
    const theme = chosen ?? (dark.matches ? "dark" : "light");
    document.documentElement.dataset.theme = theme;
    button.setAttribute("aria-label", theme === "dark" ? "Change to light" : "Change to dark");
    fill(button, theme === "dark" ? icons.sun() : icons.moon());
  };
  button.addEventListener("click", () => {
    try {
      localStorage.setItem(THEME, document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    } catch {
      // The browser keeps nothing; the theme of the system stays.
    }
    show();
  });
  dark.addEventListener("change", show);
  show();
  return button;
}

function stored() {
  try {
    const theme = localStorage.getItem(THEME);
    return theme === "dark" || theme === "light" ? theme : null;
  } catch {
    return null;
  }
}

/** A dialog in which the units are named. What is typed goes into the address of the page, so that it can be shared. */
function settings() {
  const fields = Object.fromEntries(
    Object.entries(UNITS).map(([unit, name]) => [unit, h("input", { type: "url", value: network[unit], placeholder: "http://…", name: unit, "aria-label": name })]),
  );
  const said = h("p.said", { role: "alert" });
  const dialog = h(
    "dialog.settings",
    { "aria-label": "Units" },
    h(
      "form",
      {
        method: "dialog",
        novalidate: true,
        onsubmit: (event) => {
          event.preventDefault();
          const units = {};
          for (const [unit, field] of Object.entries(fields)) {
            const typed = field.value.trim();
            units[unit] = baseUrl(typed);
            if (typed !== "" && units[unit] === "") {
              said.textContent = `${UNITS[unit]}: "${typed}" is not a URL that begins with http:// or https://.`;
              return field.focus();
            }
          }
          const address = addressWith(units);
          dialog.close();
          if (address === location.href) return;
          history.replaceState(null, "", address);
          location.reload();
        },
      },
      h("h2", "Units"),
      h("p.faint", "Where this page asks. What you change here goes into the page's address, so a link to it shows the same network."),
      Object.entries(UNITS).map(([unit, name]) => h("label.field", h("span", name), fields[unit])),
      said,
      h(
        "div.actions",
        h(
          "button.quiet",
          {
            type: "button",
            onclick: () => {
              history.replaceState(null, "", addressWith({}));
              location.reload();
            },
          },
          "Back to this service's own",
        ),
        h("button.quiet", { type: "button", onclick: () => dialog.close() }, "Cancel"),
        h("button.primary", { type: "submit" }, "Use these"),
      ),
    ),
  );
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
}

let shownPath = null;

async function route() {
  const [path, query = ""] = location.hash.replace(/^#/, "").split("?");
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  for (const link of links) {
    const to = link.getAttribute("href").slice(1);
    const here = to === "/" ? path === "" || path === "/" : path.startsWith(to) || (to === "/processes" && /^\/(process|message)\//.test(path));
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const found = ROUTES.map(([pattern, view]) => [pattern.exec(path), view]).find(([match]) => match);
  const fresh = shownPath !== path;
  shownPath = path;
  if (!found) {
    document.title = "holon explorer";
    return fill(main, empty("There is no such page.", h("a", { href: "#/" }, "Go to the overview")));
  }
  const [match, view] = found;
  try {
    const node = view({ arguments: match.slice(1), query: new URLSearchParams(query), signal, title });
    if (!signal.aborted) fill(main, node);
  } catch (error) {
    fill(main, failure(error, route));
  }
  if (fresh) {
    scrollTo(0, 0);
    if (document.activeElement && document.activeElement !== document.body && !main.contains(document.activeElement)) main.focus({ preventScroll: true });
  }
}

function title(text) {
  document.title = `${visible(text)} · holon explorer`;
}

async function start() {
  const app = document.getElementById("app");
  // Before anything is asked, so that the page never flashes in the other colours.
  const top = header();
  fill(app, top, main);
  await discover();
  if (network.name) fill(app, top, main, h("footer", network.name, " · everything here is read from the units; nothing is kept"));
  addEventListener("hashchange", route);
  every(1_000, renewTimes, new AbortController().signal);
  await route();
}

start();
