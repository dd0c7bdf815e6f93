// The playground without page loads: what a form changes is taken from its answer, and the time line runs on.
const form = document.querySelector("#play");
const keep = document.querySelector("#keep");
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
let stream = 0;

const send = async (entries, action = form.action) => {
  const answer = await fetch(action, { method: "POST", body: new URLSearchParams(entries) });
  if (!answer.ok) return form.submit(); // what is wrong is told by the page itself
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const id of ["live", "xray"]) {
    const [here, there] = [document.getElementById(id), page.getElementById(id)];
    if (!here || !there) return location.reload();
    here.replaceWith(document.adoptNode(there));
  }
  const said = document.querySelector("#live").dataset.said ?? "";
  if (!stream) document.querySelector("#said").textContent = said;
};

const entriesOf = (submitter) => {
  const entries = new FormData(form);
  if (submitter?.name) entries.set(submitter.name, submitter.value);
  return entries;
};

form.addEventListener("submit", async (event) => {
  if (!form.checkValidity()) return;
  event.preventDefault();
  const button = event.submitter;
  button?.setAttribute("aria-busy", "true");
  try {
    await send(entriesOf(button), button?.formAction || form.action);
  } catch {
    location.reload();
  } finally {
    button?.removeAttribute("aria-busy");
  }
});

const stop = () => {
  clearTimeout(stream);
  stream = 0;
  keep.textContent = "Keep sending";
  keep.setAttribute("aria-pressed", "false");
};

const step = async () => {
  const data = new FormData(form);
  data.set("count", "1");
  try {
    await send(data);
  } catch {
    return stop();
  }
  if (stream) stream = setTimeout(step, (650 * data.get("window_seconds")) / data.get("limit"));
};

keep.setAttribute("aria-pressed", "false");
keep.addEventListener("click", () => {
  if (stream) return stop();
  keep.textContent = "Stop sending";
  keep.setAttribute("aria-pressed", "true");
  stream = setTimeout(step, 0);
});
document.addEventListener("visibilitychange", () => document.hidden && stop());

const run = () => {
  const lanes = document.querySelector("#live .lanes[data-now]");
  if (lanes && !document.hidden) {
    const now = Number(lanes.dataset.now) / 1e6 + (performance.now() - (lanes.came ??= performance.now())) / 1000;
    for (const mark of lanes.querySelectorAll("[data-at]")) {
      const x = 100 - (100 * (now - Number(mark.dataset.at) / 1e6)) / lanes.dataset.span;
      if (x < -1) mark.remove();
      else mark.setAttribute("x", `${x}%`);
    }
  }
  setTimeout(run, calm ? 1000 : 100);
};
run();
