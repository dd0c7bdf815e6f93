// Counts down, then says that the way is free, or a link over. Nothing reloads by itself.
const figure = document.querySelector("[data-countdown]");
const go = document.querySelector("[data-go]");
const end = performance.now() + 1000 * figure.dataset.countdown;
const label = go?.textContent.trim();
go?.setAttribute("aria-disabled", "true");
go?.addEventListener("click", (event) => go.ariaDisabled && event.preventDefault());
const tick = () => {
  const left = Math.ceil((end - performance.now()) / 1000);
  figure.querySelector("[data-left]").textContent = Math.max(0, left);
  if (left > 0) return void setTimeout(tick, 100);
  go?.removeAttribute("aria-disabled");
  document.querySelector("[data-said]").textContent = go ? `You may go on: ${label}` : "The link is over: make another";
};
tick();
