"use strict";
// Text reaches the page through textContent only: what is shown here was written by a model.
const tip = document.getElementById("tip");
document.addEventListener("pointermove", (event) => {
  const hit = event.target.closest ? event.target.closest(".hit") : null;
  tip.hidden = !hit;
  if (!hit) return;
  tip.textContent = hit.dataset.tip;
  const left = event.clientX + 16 + tip.offsetWidth > innerWidth ? event.clientX - 16 - tip.offsetWidth : event.clientX + 16;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.min(event.clientY + 12, innerHeight - tip.offsetHeight - 8)}px`;
});

const samples = document.getElementById("samples");
if (samples) {
  const [slider, steps] = [samples.querySelector(".slider"), samples.querySelectorAll(".step")];
  const [input, output] = [slider.querySelector("input"), slider.querySelector("output")];
  const show = () => {
    steps.forEach((step, i) => { step.hidden = i !== Number(input.value); });
    output.textContent = steps[input.value].dataset.step;
  };
  samples.querySelectorAll(".step > h3").forEach((title) => title.remove());
  slider.hidden = false;
  input.addEventListener("input", show);
  slider.querySelectorAll("button").forEach((button) => button.addEventListener("click", () => {
    input.value = Number(input.value) + Number(button.dataset.move); // the input keeps to its own range
    show();
  }));
  show();
}

// Comparison: every chart is there twice, by step and by time.
const axes = document.querySelectorAll("button[data-axis]");
axes.forEach((button) => button.addEventListener("click", () => {
  axes.forEach((one) => one.setAttribute("aria-pressed", String(one === button)));
  document.querySelectorAll("[data-by]").forEach((chart) => { chart.hidden = chart.dataset.by !== button.dataset.axis; });
}));

const words = "and as assert break class continue def del elif else except finally for from global if import in is lambda not or pass raise return try while with yield None True False";
const token = new RegExp(`(?<h>#.*)|(?<s>"(?:[^"\\\\\\n]|\\\\.)*"|'(?:[^'\\\\\\n]|\\\\.)*')|(?<n>\\b\\d[\\d.]*\\b)|(?<k>\\b(?:${words.replaceAll(" ", "|")})\\b)`, "g");
document.querySelectorAll("code.python").forEach((code) => {
  const text = code.textContent;
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(token)) {
    const span = document.createElement("span");
    span.className = Object.keys(match.groups).find((name) => match.groups[name]);
    span.textContent = match[0];
    parts.push(text.slice(end, match.index), span);
    end = match.index + match[0].length;
  }
  code.replaceChildren(...parts, text.slice(end));
});
