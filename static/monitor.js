// Fresh figures every five seconds, from the page itself. Not while it is hidden, paused, or somebody has the focus there.
const button = document.querySelector("#pause");
let paused = false;

const refresh = async () => {
  if (paused || document.hidden) return;
  const answer = await fetch(location.href).catch(() => null);
  if (!answer?.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const here of document.querySelectorAll("[data-live]")) {
    const there = page.querySelector(`[data-live="${here.dataset.live}"]`);
    if (there && !here.contains(document.activeElement)) here.replaceChildren(...document.adoptNode(there).childNodes);
  }
};

button.addEventListener("click", () => {
  paused = !paused;
  button.textContent = paused ? "Resume" : "Pause";
});
setInterval(refresh, 5000);
