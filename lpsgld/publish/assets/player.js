// Moves recorded views (see recording.py). Each `.player` holds the stills of a view and its recording, deflated; where a
// browser cannot unpack it, or runs no script, the stills stay. Colours follow the page: the pictures say light-dark().
"use strict";

(() => {
  const SVG = "http://www.w3.org/2000/svg";
  // Identifiers in a picture are its own: each one lives in a shadow tree, where no other page or player meets them.
  const INSIDE = ":host { display: block } svg { display: block; width: 100%; max-height: 100% } .pinned:not(.shown) { display: none }";
  let made = 0;

  function element(name, attributes = {}, ...children) {
    const one = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
    one.append(...children);
    return one;
  }

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).json();
  }

  // A difference for the eye, as the notebook's panel writes it
  function signed(value) {
    const size = Math.abs(value);
    if (size < 1e-12) return "0";
    const sign = value < 0 ? "−" : "+";
    if (Number.isInteger(size) && size < 1e7) return sign + size.toLocaleString("en-US");
    const short = (options) => Number(size.toPrecision(3)).toLocaleString("en-US", options);
    if (size >= 1e-3 && size < 1e7) return sign + short({ maximumFractionDigits: 10 });
    const [mantissa, exponent] = size.toExponential(2).split("e");
    const raised = [...exponent.replace("+", "")].map((digit) => (digit === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]));
    return `${sign}${Number(mantissa)}·10${raised.join("")}`;
  }

  class Player {
    constructor(place, recording) {
      this.recording = recording;
      this.lines = recording.lines.split("\n");
      this.name = `player-${(made += 1)}`;
      this.start = recording[place.dataset.start] ?? recording.start; // a recording of before knows no other
      this.at = [...this.start];
      this.seed = 0;
      this.pinned = null;
      const [width, height] = recording.size;
      this.svg = document.createElementNS(SVG, "svg");
      const above = height * (Number(getComputedStyle(place).getPropertyValue("--crop")) || 0); // a title that the page has
      this.svg.setAttribute("viewBox", `0 ${above} ${width} ${height - above}`);
      this.picture = element("div", { class: "moving", role: "img" });
      this.picture.attachShadow({ mode: "open" }).append(element("style", {}, INSIDE), this.svg);
      this.numbers = element("p", { class: "numbers", role: "status" });
      this.controls = recording.controls.map((control, which) => this.control(control, which));
      const buttons = element("div", { class: "buttons" }, this.button("Reset", "Back to where this picture started", () => this.reset()));
      if (recording.pins) {
        this.pinButton = this.button("Pin", "Keep these curves, in grey, and numbers to compare", () => this.pin(!this.pinned));
        buttons.append(this.pinButton);
      }
      if (recording.seeds.length > 1) {
        buttons.append(this.button("New seed", `The same with other random numbers, of ${recording.seeds.length} recorded`, () => this.reseed()));
      }
      const controls = element("div", { class: "settings" }, ...this.controls.map((control) => control.row), buttons);
      this.draw();
      const panel = element("div", { class: "panel", role: "group", "aria-label": recording.title }, controls, this.picture, this.numbers);
      place.prepend(panel);
      place.classList.add("live");
    }

    button(label, title, action) {
      const one = element("button", { type: "button", title }, label);
      one.addEventListener("click", action);
      return one;
    }

    // A row of the panel for one control, and a function that shows where it is.
    control({ label, kind, texts }, which) {
      const move = (to) => { this.at[which] = to; this.draw(); };
      const id = `${this.name}-${which}`;
      if (kind === "buttons") {
        const choices = texts.map((text, place) => {
          const input = element("input", { type: "radio", name: id, value: place });
          input.addEventListener("change", () => move(place));
          return [input, element("label", {}, input, element("span", {}, text))];
        });
        const row = element("fieldset", {}, element("legend", {}, label), ...choices.map((choice) => choice[1]));
        return { row, show: (place) => { choices[place][0].checked = true; } };
      }
      const input = element("input", { type: "range", id, min: 0, max: texts.length - 1, step: 1 });
      const value = element("output", { for: id });
      input.addEventListener("input", () => move(Number(input.value)));
      const show = (place) => {
        input.value = place;
        input.setAttribute("aria-valuetext", texts[place]);
        value.textContent = texts[place];
      };
      return { row: element("div", { class: "slider" }, element("label", { for: id }, label), input, value), show };
    }

    // The number of the frame: the seed changes last, the last control first.
    frame() {
      return this.recording.controls.reduce((place, { texts }, which) => place * texts.length + this.at[which], this.seed);
    }

    words() {
      const texts = this.recording.controls.map(({ label, texts }, which) => `${label} = ${texts[this.at[which]]}`);
      if (this.recording.seeds.length) texts.push(`seed = ${this.recording.seeds[this.seed]}`);
      return texts.join(", ");
    }

    draw() {
      const frame = this.frame();
      this.svg.querySelectorAll(".shown").forEach((ghost) => ghost.remove());
      this.show(this.parts(frame));
      if (this.pinned) this.pinned.ghosts.forEach((ghost) => this.haunt(ghost));
      this.controls.forEach((control, which) => control.show(this.at[which]));
      const texts = this.texts(frame);
      this.numbers.replaceChildren(...texts.map((text) => element("span", {}, text)));
      if (this.pinned) this.numbers.append(element("span", { class: "how" }, `${this.pinned.ghosts.length ? "grey, dotted: " : ""}pinned at ${this.pinned.words}`));
      this.picture.setAttribute("aria-label", `${this.recording.title}: ${this.words()}. ${texts.join(", ")}`);
    }

    // A picture's parts: each thing in its axes (three spaces from the margin) by its name, and what is around them.
    parts(frame) {
      const parts = [["", []]];
      let line = 0;
      for (const way of this.recording.frames[frame]) {
        const text = this.lines[(line += way)];
        if (text.startsWith('   <g id="')) parts.push([text.split('"', 2)[1], []]);
        parts.at(-1)[1].push(text);
        if (text === "   </g>") parts.push(["", []]);
      }
      return parts.map(([name, texts]) => [name, texts.join("\n")]);
    }

    // Replace the parts that differ from what is shown: to draw all takes longer than a slider waits.
    show(parts) {
      const old = this.shown;
      this.shown = parts;
      const other = parts.filter((part, place) => part[1] !== old?.[place]?.[1]);
      if (parts.length === old?.length && parts.every(([name], place) => name === old[place][0]) && other.every(([name]) => name)) {
        for (const [name, text] of other) this.picture.shadowRoot.getElementById(name).outerHTML = text.trimStart();
      } else {
        this.svg.innerHTML = parts.map((part) => part[1]).join("\n");
      }
    }

    texts(frame) {
      const { numbers, texts, seeds } = this.recording;
      const seed = seeds.length ? [`seed ${seeds[this.seed]}`] : [];
      if (!this.pinned) return [...seed, ...texts[frame]];
      const { frame: then } = this.pinned;
      const number = (text) => text.slice(text.lastIndexOf(" = ") + 3);
      return [...seed, ...Object.keys(numbers[frame]).map((name, place) => {
        const before = number(texts[then][place]);
        if (before === number(texts[frame][place])) return `${texts[frame][place]} (as pinned)`;
        if (numbers[frame][name] === null || numbers[then][name] === null) return `${texts[frame][place]} (pinned ${before})`;
        const difference = signed(numbers[frame][name] - numbers[then][name]);
        return `${texts[frame][place]} (pinned ${before}, difference ${difference})`;
      })];
    }

    pin(on) {
      this.pinned = null;
      if (on) {
        this.draw();
        const ghosts = [...this.svg.querySelectorAll(".pinned")].map((ghost) => ghost.cloneNode(true));
        this.pinned = { frame: this.frame(), words: this.words(), ghosts };
      }
      this.pinButton.textContent = on ? "Unpin" : "Pin";
      this.draw();
    }

    // Show a pinned curve in the place of this picture's own, moved as its axes have moved.
    haunt(ghost) {
      const copy = ghost.cloneNode(true);
      const own = this.svg.querySelector(`#${ghost.id}`);
      copy.classList.add("shown");
      copy.removeAttribute("id");
      if (own && own.dataset.box !== ghost.dataset.box) {
        const [from, to] = [ghost, own].map((one) => one.dataset.box.split(" ").map(Number));
        const [x, y] = [0, 2].map((axis) => {
          const stretch = (to[axis + 1] - to[axis]) / (from[axis + 1] - from[axis]);
          return (text) => (to[axis] + stretch * (Number(text) - from[axis])).toFixed(3);
        });
        for (const path of copy.querySelectorAll("path")) {
          path.setAttribute("d", path.getAttribute("d").replace(/(-?[\d.]+) (-?[\d.]+)/g, (_, left, top) => `${x(left)} ${y(top)}`));
        }
      }
      if (own) own.after(copy);
      else this.svg.querySelector("g").append(copy);
    }

    reset() {
      this.at = [...this.start];
      this.seed = 0;
      if (this.pinned) this.pin(false);
      else this.draw();
    }

    reseed() {
      this.seed = (this.seed + 1) % this.recording.seeds.length;
      this.draw();
    }
  }

  async function begin() {
    if (typeof DecompressionStream === "undefined") return;
    for (const place of document.querySelectorAll(".player")) {
      new Player(place, await unpack(place.querySelector("script").textContent));
    }
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
})();
