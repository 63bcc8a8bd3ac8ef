// The page: reads GET /messages, then follows GET /events. Whatever comes from a request is shown as text only.
"use strict";

const MAX_PHONES = 24;
const MAX_MESSAGES_ON_A_PHONE = 30;
const MAX_MESSAGES = 1000;
const RENDER_EVERY_MS = 150;
const READ_EVERY_MS = 1000;
const COPIED_FOR_MS = 1500;

const SENDERS = { telegram: "Telegram", sms: "SMS", voice: "Incoming call" };

const byId = (id) => document.getElementById(id);
const clockTime = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const fullTime = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});

let messages = []; // newest first
let comeSinceReading = null; // messages that came while GET /messages was under way
const phoneElements = new Map(); // number -> its <article>
const messageElements = new Map(); // message id -> its <li>
let hasRenderedOnce = false;

function readableNumber(number) {
  const russian = /^7(\d{3})(\d{3})(\d{2})(\d{2})$/.exec(number);
  if (russian) return `+7 ${russian[1]} ${russian[2]}-${russian[3]}-${russian[4]}`;
  return `+${number}`;
}

function counted(count, one, many) {
  return `${count} ${count === 1 ? one : many}`;
}

// Reading

let reading = false;
let readAgain = false;

async function readMessages() {
  if (reading) {
    readAgain = true;
    return;
  }
  reading = true;
  comeSinceReading = [];
  try {
    const response = await fetch("/messages");
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    const stored = await response.json();
    const known = new Set(stored.map((message) => message.id));
    messages = [...comeSinceReading.filter((message) => !known.has(message.id)), ...stored].slice(0, MAX_MESSAGES);
    render();
  } catch {
    // The event stream notices a lost connection too, and reads again when it is back.
  } finally {
    comeSinceReading = null;
    // A flood of events must not become a flood of readings.
    setTimeout(() => {
      reading = false;
      if (readAgain) {
        readAgain = false;
        readMessages();
      }
    }, READ_EVERY_MS);
  }
}

function follow() {
  const events = new EventSource("/events");
  events.addEventListener("open", () => {
    showConnection("live", "Live");
    readMessages();
  });
  events.addEventListener("error", () => {
    showConnection("lost", "Reconnecting");
    // The browser retries by itself, except after an answer that was no event stream.
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, 5000);
  });
  events.addEventListener("message", (event) => {
    if (!event.data) return;
    const message = JSON.parse(event.data);
    if (comeSinceReading) comeSinceReading.unshift(message);
    messages.unshift(message);
    messages.length = Math.min(messages.length, MAX_MESSAGES);
    announce(message);
    renderSoon();
  });
  events.addEventListener("resync", readMessages);
  events.addEventListener("balance", (event) => showBalance(JSON.parse(event.data).balance));
}

// Showing

function showBalance(balance) {
  byId("balance").textContent = balance;
}

function showConnection(state, text) {
  byId("connection").dataset.state = state;
  byId("connection-text").textContent = text;
}

function announce(message) {
  const channel = { telegram: "Telegram message", sms: "SMS", voice: "Call" }[message.channel];
  byId("announcer").textContent = `${channel} on ${readableNumber(message.number)}, code ${[...message.code].join(" ")}`;
}

let renderTimer = null;

function renderSoon() {
  if (renderTimer !== null) return;
  renderTimer = setTimeout(render, RENDER_EVERY_MS);
}

function render() {
  clearTimeout(renderTimer);
  renderTimer = null;
  const wanted = byId("search").value.replace(/\D/g, "");
  const byNumber = new Map(); // in the order of their newest message
  for (const message of messages) {
    if (!byNumber.has(message.number)) byNumber.set(message.number, []);
    byNumber.get(message.number).push(message);
  }
  const numbers = [...byNumber.keys()].filter((number) => number.includes(wanted));
  const shown = numbers.slice(0, MAX_PHONES);

  const usedMessages = new Set();
  const elements = shown.map((number) => phoneElement(number, byNumber.get(number), usedMessages));
  keepInOrder(byId("phones"), elements);
  forgetUnused(phoneElements, new Set(shown));
  forgetUnused(messageElements, usedMessages);

  byId("empty").hidden = messages.length > 0;
  byId("filter").hidden = messages.length === 0;
  byId("none").hidden = messages.length === 0 || numbers.length > 0;
  byId("clear").disabled = messages.length === 0;
  byId("summary").textContent =
    `${counted(byNumber.size, "phone", "phones")}, ${counted(messages.length, "message", "messages")}`;
  const hiddenPhones = numbers.length - shown.length;
  byId("more").hidden = hiddenPhones === 0;
  byId("more").textContent = `${counted(hiddenPhones, "older phone is", "older phones are")} not shown; search for a number to see it.`;
  if (!hasRenderedOnce && messages.length === 0) byId("by-hand").open = true;
  hasRenderedOnce = true;
}

function phoneElement(number, itsMessages, usedMessages) {
  let element = phoneElements.get(number);
  if (!element) {
    element = byId("phone-template").content.firstElementChild.cloneNode(true);
    element.querySelector("h2").textContent = readableNumber(number);
    element.setAttribute("aria-label", `Phone ${readableNumber(number)}`);
    phoneElements.set(number, element);
  }
  element.querySelector(".clock").textContent = clockTime.format(new Date(itsMessages[0].sent_at));
  element.querySelector("header p").textContent = counted(itsMessages.length, "message", "messages");
  const newest = itsMessages.slice(0, MAX_MESSAGES_ON_A_PHONE);
  for (const message of newest) usedMessages.add(message.id);
  keepInOrder(element.querySelector(".screen"), newest.map(messageElement));
  return element;
}

function messageElement(message) {
  const known = messageElements.get(message.id);
  // A restarted sandbox counts its ids from one again.
  if (known && known.dataset.request === message.request_id) return known;
  const element = byId("message-template").content.firstElementChild.cloneNode(true);
  const channel = message.channel in SENDERS ? message.channel : "sms";
  element.dataset.request = message.request_id;
  element.classList.add(channel);
  element.classList.toggle("new", hasRenderedOnce);
  element.querySelector(".from use").setAttribute("href", `#icon-${channel}`);
  element.querySelector(".sender").textContent = SENDERS[channel];
  const time = element.querySelector("time");
  time.dateTime = message.sent_at;
  time.textContent = fullTime.format(new Date(message.sent_at));
  time.title = `${message.sent_at}, request ${message.request_id}`;
  element.querySelector(".text").textContent = channel === "voice" ? `“${message.text}”` : message.text;
  element.querySelector(".digits").textContent = message.code;
  const button = element.querySelector(".code");
  button.setAttribute("aria-label", `Copy the code ${[...message.code].join(" ")}`);
  button.addEventListener("click", () => copyFrom(button, message.code));
  messageElements.set(message.id, element);
  return element;
}

// Moves only what is out of place: a moved element loses its focus and its scroll position.
function keepInOrder(parent, elements) {
  const wanted = new Set(elements);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  let next = parent.firstElementChild;
  for (const element of elements) {
    if (element === next) next = next.nextElementSibling;
    else parent.insertBefore(element, next);
  }
}

function forgetUnused(elements, used) {
  for (const key of elements.keys()) if (!used.has(key)) elements.delete(key);
}

// Doing

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without HTTPS, on another host than this one, browsers have only the old way.
    copyTheOldWay(text);
  }
}

function copyTheOldWay(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (!copied) throw new Error("copying is not allowed");
}

async function copyFrom(button, text) {
  const hint = button.querySelector(".hint") ?? button;
  const usual = button.dataset.usual ?? hint.textContent;
  button.dataset.usual = usual;
  try {
    await copy(text);
    hint.textContent = "Copied";
    button.classList.add("copied");
    byId("announcer").textContent = "Copied";
  } catch {
    hint.textContent = "Not copied";
  }
  button.focus();
  setTimeout(() => {
    hint.textContent = usual;
    button.classList.remove("copied");
  }, COPIED_FOR_MS);
}

function start() {
  const command = [
    `curl ${location.origin}/api/send/ \\`,
    "  -H 'Authorization: API_KEY' \\",
    "  --json '{\"number\": \"79990001122\",",
    "           \"resending\": \"sms\"}'",
  ].join("\n");
  byId("command").textContent = command;
  byId("copy-command").addEventListener("click", () => copyFrom(byId("copy-command"), command));
  byId("search").value = new URLSearchParams(location.search).get("number") ?? "";
  byId("search").addEventListener("input", render);
  byId("clear").addEventListener("click", () => fetch("/messages", { method: "DELETE" }));
  if (matchMedia("(max-width: 980px)").matches) byId("endings").open = false;
  readMessages();
  follow();
}

start();
