// The figures again every three seconds, while somebody looks.
const pause = document.querySelector("#pause");
let running = !matchMedia("(prefers-reduced-motion: reduce)").matches;
const say = () => (pause.textContent = running ? "Pause" : "Resume");

const step = async () => {
  const here = document.querySelector("#live");
  if (!running || document.hidden || here.contains(document.activeElement)) return;
  try {
    const answer = await fetch(`live${location.search}`);
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const there = document.adoptNode(page.querySelector("#live"));
    const open = [...here.querySelectorAll("details")].map((one) => one.open);
    there.querySelectorAll("details").forEach((one, i) => (one.open = open[i] ?? false));
    here.replaceWith(there);
  } catch {}
};

pause.addEventListener("click", () => { running = !running; say(); });
say();
setInterval(step, 3000);
