// Sessions: what is left of a session's time runs down, and a list of devices is fetched anew when its tab is looked at again.
// Nothing asks by itself: a page that is left open must not keep a session alive.
const began = performance.now();
const figures = document.querySelectorAll("[data-seconds-left]");

function told(seconds) {
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  const two = (number) => String(number).padStart(2, "0");
  return (days ? `${days} d ` : "") + `${two(hours)}:${two(minutes)}:${two(Math.floor(seconds) % 60)}`;
}

function tick() {
  const passed = (performance.now() - began) / 1000;
  for (const figure of figures) figure.textContent = told(Math.max(0, figure.dataset.secondsLeft - passed));
}

if (figures.length) {
  tick();
  setInterval(tick, 1000);
}

document.addEventListener("visibilitychange", async () => {
  const list = document.querySelector("[data-fresh]");
  if (document.hidden || !list || list.contains(document.activeElement)) return;
  const answer = await fetch(location.href).catch(() => null);
  if (!answer?.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-fresh]");
  if (fresh) list.replaceChildren(...fresh.children);
});
