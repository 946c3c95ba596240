// Moves the deck: keys, the place in the address (#7), notes below the slide or in the speaker's own window.
"use strict";

const root = document.documentElement;
const slides = [...document.querySelectorAll(".slide")];
const framesOf = (slide) => [...slide.querySelectorAll(".frame")];
const keys = document.getElementById("keys");
const systemDark = matchMedia("(prefers-color-scheme: dark)");
let slide = 0;
let frame = 0;
let speaker = null;
let began = 0;

function show(toSlide, toFrame = 0) {
  slide = Math.min(Math.max(toSlide, 0), slides.length - 1);
  const frames = framesOf(slides[slide]);
  frame = Math.min(toFrame, Math.max(frames.length - 1, 0));
  for (const other of slides) other.classList.toggle("now", other === slides[slide]);
  if (!slides[slide].contains(document.activeElement)) document.activeElement?.blur(); // a slider out of sight
  frames.forEach((other, place) => other.classList.toggle("now", place === frame));
  document.getElementById("place").textContent = `${slide + 1} / ${slides.length}`;
  history.replaceState(null, "", `#${slide + 1}`);
  if (root.classList.contains("overview")) slides[slide].scrollIntoView({ block: "nearest" });
  tellSpeaker();
}

function forward() {
  if (frame + 1 < framesOf(slides[slide]).length) show(slide, frame + 1);
  else if (slide + 1 < slides.length) show(slide + 1);
}

function back() {
  if (frame > 0) show(slide, frame - 1);
  else if (slide > 0) show(slide - 1, Infinity);
}

// The speaker's window is an empty page that this one fills: it works from a file, where pages may not talk.
function openSpeaker() {
  speaker = window.open("", "lpsgld-speaker", "width=900,height=700");
  if (!speaker) return root.classList.add("noted"); // the browser forbids a second window
  const page = speaker.document;
  page.title = "Notes";
  page.documentElement.lang = "en";
  page.head.innerHTML = `<meta charset="utf-8"><style>
    :root { color-scheme: light dark; } body { font: 1.3rem/1.5 "DejaVu Sans", system-ui, sans-serif; margin: 1.5rem; }
    header { display: flex; justify-content: space-between; gap: 2rem; } #clock { font-variant-numeric: tabular-nums; }
    h1 { font-size: 1.3rem; } #following { border-top: 1px solid; padding-top: .7rem; font-size: 1rem; }
    #following .stage { width: min(100%, 55vh); border: 1px solid var(--line); }
  </style>`;
  page.head.prepend(document.querySelector("style").cloneNode(true)); // what comes next looks as it will
  page.body.innerHTML =
    '<header><span id="place"></span><span id="plan"></span><span id="clock"></span></header><h1 id="title"></h1>' +
    '<div id="notes"></div><div id="following"></div>';
  page.onkeydown = onKey;
  began ||= Date.now();
  tellSpeaker();
}

function tellSpeaker() {
  if (!speaker || speaker.closed) return;
  const page = speaker.document;
  const put = (id, html) => { page.getElementById(id).innerHTML = html; };
  const frames = framesOf(slides[slide]).length;
  const title = (which) => slides[which].querySelector("h2").innerHTML;
  put("place", `${slide + 1} / ${slides.length}` + (frames > 1 ? ` · step ${frame + 1} of ${frames}` : ""));
  put("title", title(slide));
  put("notes", slides[slide].querySelector(".notes").innerHTML);
  const minutes = slides.map((one) => Number(one.dataset.minutes));
  const sum = (some) => some.reduce((all, one) => all + one, 0);
  put("plan", sum(minutes) ? `planned: ${sum(minutes.slice(0, slide + 1))} of ${sum(minutes)} minutes after this slide` : "");
  const step = frame + 1 < frames;
  const last = !step && slide + 1 === slides.length;
  put("following", last ? "This is the last slide." : `<p>Next: ${step ? `step ${frame + 2}` : title(slide + 1)}</p>`);
  if (!last) page.getElementById("following").append(still(slides[step ? slide : slide + 1], step ? frame + 1 : 0));
  page.documentElement.dataset.theme = isDark() ? "dark" : "light";
  tick();
}

// A slide at one of its steps, to look at.
function still(one, step) {
  const copy = one.cloneNode(true);
  framesOf(copy).forEach((other, place) => {
    if (place !== step) other.remove();
    other.classList.remove("live"); // a copy cannot move
    other.querySelector(".panel")?.remove();
  });
  copy.querySelector(".notes").remove();
  copy.removeAttribute("id");
  copy.inert = true;
  return copy;
}

function tick() {
  if (!speaker || speaker.closed) return;
  const seconds = Math.floor((Date.now() - began) / 1000);
  const two = (number) => String(number).padStart(2, "0");
  speaker.document.getElementById("clock").textContent = `${two(Math.floor(seconds / 60))}:${two(seconds % 60)}`;
}

function isDark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches;
}

function toggleTheme() {
  root.dataset.theme = isDark() ? "light" : "dark";
  tellSpeaker();
}

function toggleOverview() {
  root.classList.toggle("overview");
  root.classList.remove("noted");
  show(slide, frame);
}

function toggleHelp() {
  if (keys.open) keys.close();
  else keys.showModal();
}

function toggleFullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else root.requestFullscreen();
}

const ACTIONS = {
  ArrowRight: forward, ArrowDown: forward, PageDown: forward, " ": forward, Enter: forward,
  ArrowLeft: back, ArrowUp: back, PageUp: back, Backspace: back,
  Home: () => show(0), End: () => show(slides.length - 1, Infinity),
  s: openSpeaker, n: () => root.classList.toggle("noted"), o: toggleOverview, d: toggleTheme,
  f: toggleFullScreen, h: toggleHelp, "?": toggleHelp,
  Escape: () => root.classList.contains("overview") && toggleOverview(),
};

function onKey(event) {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (keys.open && !["h", "?"].includes(event.key)) return;
  if ([" ", "Enter"].includes(event.key) && event.target.closest?.("button, a")) return;
  // Arrows move the slider in focus; what a clicker sends turns the slide all the same.
  if (event.target.closest?.("input") && /^(Arrow|Home|End| )/.test(event.key)) return;
  const action = ACTIONS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

let touched = null;
document.addEventListener("keydown", onKey);
document.addEventListener("touchstart", (event) => {
  touched = event.target.closest?.(".settings") ? null : event.changedTouches[0].clientX;
}, { passive: true });
document.addEventListener("touchend", (event) => {
  if (touched === null) return;
  const way = event.changedTouches[0].clientX - touched;
  if (Math.abs(way) > 60) (way < 0 ? forward : back)();
});
document.getElementById("forward").addEventListener("click", forward);
document.getElementById("back").addEventListener("click", back);
document.getElementById("help").addEventListener("click", toggleHelp);
window.addEventListener("hashchange", () => show(Number(location.hash.slice(1)) - 1));
slides.forEach((one, place) => one.addEventListener("click", () => {
  if (!root.classList.contains("overview")) return;
  toggleOverview();
  show(place);
}));
setInterval(tick, 1000);

root.classList.add("live");
document.querySelector(".controls").hidden = false;
show((Number(location.hash.slice(1)) || 1) - 1);
