// The page: who we are, what is said, and the two forms.

import { Room, TEXT_LIMIT_BYTES } from "./room.js";
import { wallet } from "./wallet.js";

/** Lines of one person within this time stand together, in milliseconds. */
const TOGETHER_MS = 5 * 60_000;

const $ = (id) => document.getElementById(id);
const short = (address) => `${address.slice(0, 5)}…${address.slice(-3)}`;
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

let room;
let me;
let members = [];
/** What is on the page, by the time of the log; several lines never have the same. */
const lines = new Map();
/** What was sent and not heard yet, by its mark. */
const pending = new Map();

function make(name, { text, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  if (text !== undefined) element.textContent = text;
  element.append(...children);
  return element;
}

/** A coloured circle: always the same for the same address, so that names alone deceive nobody. */
function face(address, nickname) {
  const hue = [...address].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) % 360, 7);
  const circle = make("span", { className: "face", text: [...(nickname || address)][0].toUpperCase(), title: address });
  circle.setAttribute("aria-hidden", "true");
  circle.style.setProperty("--hue", hue);
  return circle;
}

function bubble(text, at) {
  const element = make("div", { className: "bubble" }, make("p", { text }));
  if (at) element.append(make("time", { text: clock.format(at), dateTime: new Date(at).toISOString(), title: new Date(at).toLocaleString() }));
  return element;
}

function block({ from, nickname, at, text }) {
  const mine = from === me.address;
  const name = make("b", { text: nickname || short(from) });
  const head = make("div", { className: "name", title: from }, name, make("span", { text: mine ? "you" : short(from) }));
  const element = make("li", { className: mine ? "mine" : "" }, face(from, nickname), make("div", { className: "said" }, head, bubble(text, at)));
  Object.assign(element.dataset, { from, nickname, at });
  return element;
}

/** Puts a line where it belongs: in a block of the same person, or in one of its own. */
function put(line) {
  const list = $("lines");
  const last = [...list.querySelectorAll("li:not(.pending)")].at(-1);
  const { from, nickname, at } = last?.dataset ?? {};
  if (from === line.from && nickname === line.nickname && line.at - Number(at) < TOGETHER_MS) {
    last.querySelector(".said").append(bubble(line.text, line.at));
    last.dataset.at = line.at;
  } else {
    list.insertBefore(block(line), list.querySelector("li.pending"));
  }
}

function heard(line) {
  if (lines.has(line.at)) return;
  const near = nearTheEnd();
  const sent = pending.get(line.mark);
  if (sent && line.from === me.address) {
    pending.delete(line.mark);
    sent.remove();
  }
  lines.set(line.at, line);
  put(line);
  $("empty").hidden = true;
  if (near || line.from === me.address) toTheEnd();
}

const nearTheEnd = () => $("talk").scrollHeight - $("talk").scrollTop - $("talk").clientHeight < 80;
const toTheEnd = () => $("talk").scrollTo({ top: $("talk").scrollHeight });

function show(state) {
  $("state").dataset.state = state;
  $("state").textContent = state === "live" ? "live" : "connecting";
}

function complain(error) {
  $("trouble").hidden = !error;
  $("trouble").textContent = error ? (error.message ?? String(error)) : "";
}

async function whoIsHere() {
  members = await room.members();
  const own = members.find((member) => member.Address === me.address);
  $("people").hidden = false;
  $("people").textContent = members.length === 1 ? "1 member" : `${members.length} members`;
  $("members").replaceChildren(
    make("h2", { text: "Who is here" }),
    ...members.map(({ Address: address, Nickname: nickname }) => make("p", { title: address }, face(address, nickname), make("b", { text: nickname || short(address) }), make("span", { text: address === me.address ? "you" : short(address) }))),
  );
  $("who").replaceChildren(...(own ? ["You are ", make("b", { text: own.Nickname || short(me.address) }), " · "] : ["Your wallet is "]), make("code", { text: short(me.address), title: me.address }), ", a key that this browser keeps");
  $("join").hidden = own !== undefined;
  if (own && $("say").hidden) {
    $("say").hidden = false;
    $("say").elements.text.focus();
  }
}

async function say(text) {
  const mark = crypto.randomUUID();
  const nickname = members.find((member) => member.Address === me.address)?.Nickname ?? "";
  const element = block({ from: me.address, nickname, text });
  element.classList.add("pending");
  pending.set(mark, element);
  $("lines").append(element);
  $("empty").hidden = true;
  toTheEnd();
  try {
    await room.say(text, mark);
  } catch (error) {
    const again = make("button", { type: "button", text: "Try again" });
    again.addEventListener("click", () => {
      element.remove();
      pending.delete(mark);
      say(text);
    });
    element.classList.add("failed");
    element.querySelector(".said").append(make("p", { className: "reason" }, `Not said: ${error.message} `, again));
    toTheEnd();
  }
}

function forms() {
  $("join").addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = $("join").querySelector("button");
    button.disabled = true;
    try {
      await room.join($("join").elements.nickname.value.trim());
      complain();
      await whoIsHere();
    } catch (error) {
      complain(error);
    }
    button.disabled = false;
  });

  const { text } = $("say").elements;
  const grow = () => {
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight}px`;
    const bytes = new TextEncoder().encode(text.value).length;
    text.setCustomValidity(bytes > TEXT_LIMIT_BYTES ? `${TEXT_LIMIT_BYTES} bytes can be said at once, these are ${bytes}.` : "");
  };
  text.addEventListener("input", grow);
  text.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    $("say").requestSubmit();
  });
  $("say").addEventListener("submit", (event) => {
    event.preventDefault();
    const said = text.value.trim();
    if (!said) return;
    text.value = "";
    grow();
    say(said);
  });

  $("people").addEventListener("click", () => {
    $("members").hidden = !$("members").hidden;
    $("people").setAttribute("aria-expanded", String(!$("members").hidden));
  });
}

async function begin() {
  const network = await (await fetch("network.json")).json();
  $("room").textContent = network.NAME;
  document.title = network.NAME;
  $("explorer").href = `${network.GATEWAY_URL}/explorer/#/process/${network.ROOM}`;
  $("explorer").hidden = false;
  $("who").textContent = "Making a wallet that this browser keeps …";
  // Several people may use one browser: `?as=` says who.
  me = await wallet(new URLSearchParams(location.search).get("as") ?? "own");
  room = new Room(network, me);
  forms();
  await whoIsHere();
  for (const { From: from, Nickname: nickname, At: at, Data: text } of await room.history()) heard({ from, nickname, at, text });
  $("empty").hidden = lines.size > 0;
  toTheEnd();
  const last = [...lines.keys()].at(-1) ?? 0;
  room.listen(last, { heard, state: show, changed: () => whoIsHere().catch(complain) });
}

begin().catch((error) => {
  show("waiting");
  complain(new Error(`This page cannot begin: ${error.message}. Reload it once the network is there.`));
});
