// Programs step by step: every part of one has the step that committed it in data-step.
const ROUND_MS = 12000;
document.querySelectorAll(".player").forEach((player) => {
  const [input, output] = [player.querySelector("input"), player.querySelector("output")];
  const [play, steps] = [player.querySelector("[data-play]"), Number(player.dataset.steps)];
  const parts = [...player.querySelectorAll("[data-step]")].map((part) => [part, Number(part.dataset.step)]);
  let timer = 0;
  const show = (step) => {
    input.value = step;
    output.textContent = `${step} of ${steps}`;
    for (const [part, at] of parts) {
      part.classList.toggle("covered", at > step);
      part.classList.toggle("fresh", at === step && step < steps);
    }
  };
  const pause = () => {
    clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
    play.setAttribute("aria-label", "Play");
  };
  const forward = () => {
    if (Number(input.value) >= steps) pause();
    else show(Number(input.value) + 1);
  };
  play.addEventListener("click", () => {
    if (timer) return pause();
    if (Number(input.value) >= steps) show(0);
    timer = setInterval(forward, Math.min(300, Math.max(40, ROUND_MS / steps)));
    play.textContent = "Pause";
    play.setAttribute("aria-label", "Pause");
  });
  input.addEventListener("input", () => { pause(); show(Number(input.value)); });
  player.querySelectorAll("[data-move]").forEach((button) => button.addEventListener("click", () => {
    pause();
    show(Math.min(steps, Math.max(0, Number(input.value) + Number(button.dataset.move))));
  }));
  player.querySelector(".controls").hidden = !steps;
  show(steps);
});
