// What the pages can do beyond HTML. Without scripts everything still works: by links, forms and reloading.
"use strict";

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const say = (text) => { $("#announce").textContent = text; };

// -- the theme: automatic, light, dark ----------------------------------------------------------------------------------

const THEMES = ["auto", "light", "dark"];
const THEME_NAMES = { auto: "automatic", light: "light", dark: "dark" };

function setUpTheme() {
  const button = $("[data-theme-toggle]");
  const current = () => document.documentElement.dataset.theme || "auto";
  const label = () => button.setAttribute("aria-label", `Colour theme: ${THEME_NAMES[current()]}`);
  button.hidden = false;
  label();
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(current()) + 1) % THEMES.length];
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try { localStorage.setItem("aggmaint-theme", next); } catch { /* then it holds for this page */ }
    label();
    button.title = THEME_NAMES[next];
    say(`Colour theme: ${THEME_NAMES[next]}`);
  });
}

// -- exchanging the page's content without a flash -----------------------------------------------------------------------

let swapping = null;

async function swap(address, { push = false, focus = "" } = {}) {
  swapping?.abort();
  const mine = swapping = new AbortController();
  let answer;
  try {
    answer = await fetch(address, { headers: { Accept: "text/html" }, signal: mine.signal });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = $("#main", page);
    if (!fresh || mine.signal.aborted) return false;
    const focused = focus || document.activeElement?.id || "";
    closeStreams();
    $("#main").replaceWith(document.adoptNode(fresh));
    document.title = page.title;
    if (push) history.pushState(null, "", answer.url + (new URL(address, location.href).hash));
    setUpMain();
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    return true;
  } catch (problem) {
    if (problem.name === "AbortError") return false;
    if (push) location.assign(address);
    return false;
  }
}

// -- live progress --------------------------------------------------------------------------------------------------------

let streams = [];

function closeStreams() {
  for (const stream of streams) stream.close();
  streams = [];
}

function follow(element) {
  const stream = new EventSource(element.dataset.live);
  streams.push(stream);
  const bar = $("progress", element);
  stream.addEventListener("state", (event) => {
    const now = JSON.parse(event.data);
    if (now.state === "waiting") return;
    $("[data-live-step]", element).textContent = now.state === "cancelling" ? "Stopping" : now.step;
    $("[data-live-detail]", element).textContent = now.detail;
    $("[data-live-count]", element).textContent = now.total ? `${now.done} of ${now.total}` : "";
    if (now.total) { bar.max = now.total; bar.value = now.done; } else bar.removeAttribute("value");
  });
  stream.addEventListener("over", async () => {
    stream.close();
    if (await swap(location.href)) say("The run has ended.");
  });
  stream.addEventListener("error", () => {
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => swap(location.href), 5000);
  });
}

let refreshing = 0;

function refreshLater() {
  clearTimeout(refreshing);
  const asks = $("[data-refresh]");
  if (!asks) return;
  refreshing = setTimeout(() => {
    const busy = document.hidden || $("#dialog").open || document.activeElement?.matches("input");
    if (busy) refreshLater(); else swap(location.href).then((done) => { if (!done) refreshLater(); });
  }, 1000 * Number(asks.dataset.refresh));
}

// -- questions as dialogs -------------------------------------------------------------------------------------------------

async function ask(link) {
  try {
    const answer = await fetch(link.href);
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show(new DOMParser().parseFromString(await answer.text(), "text/html"), link);
  } catch {
    location.assign(link.href);
  }
}

function show(page, opener) {
  const question = $("[data-question]", page);
  if (!question) { location.assign(opener.href); return; }
  const dialog = $("#dialog");
  dialog.replaceChildren(document.adoptNode(question));
  $("[data-dismiss]", dialog).addEventListener("click", (event) => { event.preventDefault(); dialog.close(); });
  dialog.onclose = () => opener.focus();
  if (!dialog.open) dialog.showModal();
  ($("input:not([type=hidden])", dialog) || $("[data-dismiss]", dialog)).focus();
}

// -- time ----------------------------------------------------------------------------------------------------------------

// The server's clock counts: this machine's may be wrong.
let ahead = 0;
const now = () => Date.now() + ahead;

function relative(at) {
  const seconds = (at - now()) / 1000;
  const size = Math.abs(seconds);
  if (size < 10) return seconds <= 0 ? "just now" : "in a moment";
  for (const [length, unit] of [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]) {
    if (size >= length) {
      const said = `${Math.floor(size / length)} ${unit}`;
      return seconds > 0 ? `in ${said}` : `${said} ago`;
    }
  }
  return "just now";
}

const LOCAL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });

function tellTimes() {
  for (const element of $$("time[data-when]")) {
    const at = Date.parse(element.dateTime);
    if (Number.isNaN(at)) continue;
    if (!element.dataset.utc) {
      element.dataset.utc = element.title;
      element.title = `${LOCAL.format(at)} · ${element.title}`;
    }
    element.textContent = relative(at);
  }
}

// -- the heat map by keyboard ---------------------------------------------------------------------------------------------

function setUpGrid(grid) {
  const cells = $$("[data-cell]", grid);
  if (!cells.length) return;
  const start = cells.find((cell) => cell.getAttribute("aria-current")) || cells[0];
  for (const cell of cells) cell.tabIndex = cell === start ? 0 : -1;
  grid.addEventListener("keydown", (event) => {
    const from = event.target.closest("[data-cell]");
    if (!from) return;
    const to = neighbour(cells, from, event.key);
    if (!to) return;
    event.preventDefault();
    from.tabIndex = -1;
    to.tabIndex = 0;
    to.focus();
  });
  grid.addEventListener("click", (event) => {
    const cell = event.target.closest("[data-cell]");
    if (!cell || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    swap(cell.href, { push: true, focus: cell.id }).then((done) => { if (done) say($("#partition").textContent.trim().replace(/\s+/g, " ")); });
  });
}

function neighbour(cells, from, key) {
  const index = cells.indexOf(from);
  if (key === "ArrowRight") return cells[index + 1];
  if (key === "ArrowLeft") return cells[index - 1];
  if (key === "Home") return cells[0];
  if (key === "End") return cells[cells.length - 1];
  if (key !== "ArrowDown" && key !== "ArrowUp") return null;
  const place = from.closest("td");
  const row = place?.parentElement;
  const next = key === "ArrowDown" ? row?.nextElementSibling : row?.previousElementSibling;
  if (!next) return null;
  const column = [...row.children].indexOf(place);
  const there = $$("[data-cell]", next);
  return there.sort((a, b) => distance(a, next, column) - distance(b, next, column))[0] || null;
}

const distance = (cell, row, column) => Math.abs([...row.children].indexOf(cell.closest("td")) - column);

// -- putting it together --------------------------------------------------------------------------------------------------

function setUpMain() {
  for (const element of $$("[data-live]")) if (element.dataset.live) follow(element);
  for (const link of $$("[data-ask]")) {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      ask(link);
    });
  }
  for (const link of $$("[data-swap]")) {
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      swap(link.href, { push: true, focus: "partition" });
    });
  }
  for (const button of $$("[data-copy]")) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText($(`#${button.dataset.copy}`).textContent);
      button.textContent = "Copied";
      say("Copied");
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  }
  for (const grid of $$("[data-grid]")) setUpGrid(grid);
  const told = Date.parse($("#main").dataset.now || "");
  if (!Number.isNaN(told)) ahead = told - Date.now();
  tellTimes();
  refreshLater();
}

setUpTheme();
setUpMain();
setInterval(tellTimes, 15000);
addEventListener("popstate", () => swap(location.href));
addEventListener("pagehide", closeStreams);
