// Theme, code and leafing with the arrow keys. Without this script the book reads as well: it follows the system's theme.
"use strict";

const root = document.documentElement;
const remembered = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
const remember = (key, value) => { try { localStorage.setItem(key, value); } catch { /* a private window */ } };
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);

if (remembered("theme")) root.dataset.theme = remembered("theme");

document.addEventListener("DOMContentLoaded", () => {
  const theme = document.getElementById("theme");
  const code = document.getElementById("code");
  const cells = [...document.querySelectorAll("details.code")];

  const label = () => {
    theme.textContent = isDark() ? "Light" : "Dark";
    if (code) code.textContent = cells.some((cell) => cell.open) ? "Close all code" : "Open all code";
  };
  theme.hidden = false;
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember("theme", root.dataset.theme);
    label();
  });
  systemDark.addEventListener("change", label);

  if (code && cells.length) {
    code.hidden = false;
    code.addEventListener("click", () => {
      const open = !cells.some((cell) => cell.open);
      for (const cell of cells) cell.open = open;
      remember("code", open ? "open" : "closed");
      label();
    });
    for (const cell of cells) cell.open = remembered("code") === "open";
    for (const cell of cells) cell.addEventListener("toggle", label);
  }
  label();

  // On a narrow window the contents would push the text away.
  if (matchMedia("(max-width: 60rem)").matches) document.querySelector(".contents details").open = false;
});

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const way = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  const link = way && document.querySelector(`.leaf a[rel=${way}]`);
  const scrolls = event.target.closest?.("pre, .output, .picture, summary, input");
  if (link && !scrolls) location.href = link.href;
});
