// Refreshes the page every few seconds. Only what differs is touched, so that focus, selection, scrolling and what is
// typed in the filter stay as they are.
"use strict";

const INTERVAL = 5000;
const TIMEOUT = 4000;

let etag = null;
let answered = new Date();
let timer = null;

/** Makes a node equal to another one, keeping whatever is equal already. */
function become(node, wanted) {
  if (node.isEqualNode(wanted)) return;
  if (node.nodeType !== wanted.nodeType || node.nodeName !== wanted.nodeName) {
    node.replaceWith(document.importNode(wanted, true));
    return;
  }
  if (node.nodeType !== Node.ELEMENT_NODE) {
    node.data = wanted.data;
    return;
  }
  for (const { name } of [...node.attributes]) if (!wanted.hasAttribute(name)) node.removeAttribute(name);
  for (const { name, value } of wanted.attributes) if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  const children = [...node.childNodes];
  const others = [...wanted.childNodes];
  others.forEach((other, number) => {
    if (number < children.length) become(children[number], other);
    else node.append(document.importNode(other, true));
  });
  children.slice(others.length).forEach((child) => child.remove());
}

/** Shows another status. */
function show(text) {
  const wanted = new DOMParser().parseFromString(text, "text/html");
  if (!wanted.getElementById("headline")) throw new Error("this is another page");
  document.title = wanted.title;
  become(document.body, wanted.body);
}

/** Says in the headline that the status is old, or no longer says so. */
function tell(text) {
  const stale = document.getElementById("stale");
  if (stale.textContent !== text) stale.textContent = text;
}

async function refresh() {
  try {
    const response = await fetch(location.pathname + location.search, {
      cache: "no-store",
      headers: etag ? { "If-None-Match": etag } : {},
      signal: AbortSignal.timeout(TIMEOUT),
    });
    if (response.status !== 304) {
      show(await response.text());
      etag = response.headers.get("ETag");
    }
    answered = new Date();
    tell("");
  } catch {
    const time = answered.toISOString().slice(11, 19);
    tell(`rrwatch has not answered since ${time} UTC: what is shown is that old.`);
  }
}

async function turn() {
  clearTimeout(timer);
  if (!document.hidden) await refresh();
  clearTimeout(timer);
  timer = setTimeout(turn, INTERVAL);
}

// A page that nobody sees is refreshed when somebody looks again.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) turn();
});
timer = setTimeout(turn, INTERVAL);
