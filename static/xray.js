// The x-ray: folded on a phone, remembered; and what the page's own scripts ask for appears as it happens.
const panel = () => document.querySelector(".xray");
const all = (selector) => document.querySelectorAll(selector);
const make = (tag, className, words, ...children) => {
  const made = document.createElement(tag);
  made.className = className;
  made.append(words, ...children);
  return made;
};
const began = performance.now();
const here = document.querySelector(".nav [aria-current]");
if (here) here.parentElement.scrollLeft += here.getBoundingClientRect().left - 120;
const typed = document.querySelector(".typed pre");
if (typed && navigator.clipboard) {
  const button = make("button", "btn small", "Copy");
  button.onclick = async () => {
    await navigator.clipboard.writeText(typed.textContent);
    button.textContent = "Copied";
  };
  typed.after(button);
}
const phone = matchMedia("(max-width: 52rem)").matches;
if ((localStorage.xray ?? (phone ? "closed" : "open")) === "closed" && !location.hash) {
  for (const part of all(".xray .req")) part.open = false;
}
addEventListener("click", (event) => {
  const part = event.target.closest(".xray .req > summary")?.parentElement;
  if (part) localStorage.xray = part.open ? "closed" : "open";
});
const run = () => {
  for (const left of all("[data-ttl]")) {
    left.textContent = `${Math.max(0, Math.round(left.dataset.ttl - (performance.now() - began) / 1000))} s`;
  }
};
if (all("[data-ttl]").length) setInterval(run, 1000);

const show = (request, answer, told) => {
  const rows = told.commands.map(([name, key, rest, reply, site]) =>
    make("li", "cmd", make("p", "line", make("b", "op", name), " ", make("span", "key", key), ` ${rest}`), make("p", "line reply", reply), make("p", "meta", site)));
  const head = make("summary", "", make("span", "grow", `${request.method} ${new URL(request.url).pathname}`), make("span", "badge", answer.status), make("span", "label", `${told.ms} ms`));
  const sum = `${told.trips} round trips, ${told.redis_ms} ms in Redis${told.more ? `, ${told.more} more commands` : ""}`;
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
