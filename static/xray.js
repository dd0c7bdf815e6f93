// What every page has. The x-ray: folded on a phone, remembered; and what the page's own scripts ask for appears as it happens.
// And time: figures that it changes count by themselves, and what they cannot tell is read again.
const panel = () => document.querySelector(".xray");
const all = (selector) => document.querySelectorAll(selector);
const make = (tag, className, words, ...children) => {
  const made = document.createElement(tag);
  made.className = className;
  made.append(words, ...children);
  return made;
};
const here = document.querySelector(".nav [aria-current]");
if (here) here.parentElement.scrollLeft += here.getBoundingClientRect().left - 120;
for (const text of navigator.clipboard ? all("[data-copy]") : []) {
  const button = make("button", "btn small", "Copy");
  button.type = "button";
  button.onclick = async () => {
    await navigator.clipboard.writeText(text.value ?? text.textContent);
    button.textContent = "Copied";
  };
  text.after(button);
}
const phone = matchMedia("(max-width: 52rem)").matches;
if ((localStorage.xray ?? (phone ? "closed" : "open")) === "closed" && !location.hash) {
  for (const part of all(".xray .req")) part.open = false;
}
addEventListener("click", (event) => {
  const part = event.target.closest(".xray .req > summary")?.parentElement;
  if (part) localStorage.xray = part.open ? "closed" : "open";
});

const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const pause = document.querySelector("#pause");
let running = !(pause && calm);
let reading = false;
const age = (one) => (performance.now() - (one.came ??= performance.now())) / 1000;
const two = (number) => String(Math.floor(number)).padStart(2, "0");
// Seconds as they are told by the attribute that bears them; at their end stands what data-then says, if anything.
const words = {
  ttl: (seconds) => `${String(Math.round(seconds)).replace(/\B(?=(\d{3})+$)/g, "\u202f")} s`,
  until: (seconds) => seconds.toFixed(1),
  "seconds-left": (seconds) =>
    (seconds < 86400 ? "" : `${Math.floor(seconds / 86400)} d `) + [(seconds / 3600) % 24, (seconds / 60) % 60, seconds % 60].map(two).join(":"),
};

// Each [data-fresh] part anew, as the page's address or its data-from tells it now; not the one where somebody has the focus.
const fresh = async () => {
  const parts = [...all("[data-fresh]")].filter((part) => !part.contains(document.activeElement));
  if (!running || reading || !parts.length || document.hidden) return;
  reading = true;
  for (const part of all("[data-fresh]")) part.came = performance.now();
  try {
    const answer = await fetch(parts[0].dataset.from ?? location.href);
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const here of parts) {
      const there = page.querySelector(`[data-fresh="${here.dataset.fresh}"]`);
      if (!there || !here.isConnected) continue;
      const open = [...here.querySelectorAll("details")].map((one) => one.open);
      there.querySelectorAll("details").forEach((one, i) => (one.open = open[i] ?? one.open));
      here.replaceWith(document.adoptNode(there));
    }
  } catch {
  } finally {
    reading = false;
  }
};

const tick = () => {
  for (const [name, tell] of Object.entries(words)) {
    for (const one of all(`[data-${name}]`)) {
      const left = Math.max(0, one.getAttribute(`data-${name}`) - age(one));
      const now = left || one.dataset.then === undefined ? tell(left) : one.dataset.then;
      if (one.textContent !== now) one.textContent = now;
    }
  }
  for (const one of all("[data-ago]")) one.textContent = Math.round(Number(one.dataset.ago) + age(one));
  const due = [...all("[data-every]")].some((part) => age(part) > part.dataset.every);
  if (due) fresh();
  setTimeout(tick, calm ? 1000 : 100);
};
tick();
document.addEventListener("visibilitychange", fresh);
const say = () => (pause.textContent = running ? "Pause" : "Resume");
if (pause) {
  pause.onclick = () => {
    running = !running;
    say();
  };
  say();
}

const show = (request, answer, told) => {
  const rows = told.commands.map(([name, key, rest, reply, site]) =>
    make("li", "cmd", make("p", "line", make("b", "op", name), " ", make("span", "key", key), ` ${rest}`), make("p", "line reply", reply), make("p", "meta", site)));
  const what = `${request.method} ${new URL(request.url).pathname}`;
  for (const old of all(".req.own")) if (old.querySelector(".grow").textContent === what) old.remove(); // asked again and again
  const head = make("summary", "", make("span", "grow", what), make("span", "badge", answer.status), make("span", "label", `${told.ms} ms`));
  const sum = `${told.trips} round trips, ${told.redis_ms} ms in Redis${told.redis_ms > told.ms ? ", summed over parallel calls" : ""}${told.more ? `, ${told.more} more commands` : ""}`;
  panel().querySelector(".req").before(make("details", "req own", head, make("div", "in", make("p", "label", sum), make("ol", "cmds", "", ...rows))));
  for (const old of [...all(".req.own")].slice(5)) old.remove();
};
const plain = window.fetch;
window.fetch = async (...asked) => {
  const request = new Request(...asked);
  if (request.url.startsWith(location.origin)) request.headers.set("X-Xray", "1");
  const answer = await plain(request);
  const told = answer.headers.get("X-Xray");
  if (told && panel()) show(request, answer, JSON.parse(told));
  return answer;
};
