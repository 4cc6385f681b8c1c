"use strict";
// Every few seconds the page is asked for again, and the parts that have changed take their places.
const EVERY_MS = 5000;
const live = document.getElementById("live");

function replace(fresh) {
  for (const part of fresh.querySelectorAll("[data-live]")) {
    const here = document.getElementById(part.id);
    if (!here || here.innerHTML === part.innerHTML) continue;
    const focus = here.contains(document.activeElement) && document.activeElement.id;
    const scrolled = [...here.querySelectorAll(".wide")].map((box) => box.scrollLeft);
    const opened = [...here.querySelectorAll("details")].map((box) => box.open);
    here.innerHTML = part.innerHTML;
    here.className = part.className;
    here.hidden = part.hidden;
    here.querySelectorAll(".wide").forEach((box, n) => { box.scrollLeft = scrolled[n] || 0; });
    here.querySelectorAll("details").forEach((box, n) => { box.open = opened[n] ?? box.open; });
    if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
  }
  document.title = fresh.title;
}

async function look() {
  if (document.hidden) return;
  try {
    const answer = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(20000) });
    if (!answer.ok) throw new Error(answer.status);
    replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
    live.textContent = "";
  } catch {
    live.textContent = "syncd does not answer; what you see is old.";
  }
}

setInterval(look, EVERY_MS);
document.addEventListener("visibilitychange", look);
