// A board that moves by itself: what the stream tells is drawn into the rows that are there; and the game's clock.
// Without this file, or a stream, a board reloads by itself.
const $ = (id) => document.getElementById(id);
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const live = document.querySelector("[data-live]");
const number = (value) => String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f");
const heights = [84, 60, 42];
let source;
let rank;

const draw = (body, entries) => {
  const focused = document.activeElement;
  const rows = new Map([...body.rows].map((row) => [row.dataset.player, [row, row.getBoundingClientRect().top]]));
  body.replaceChildren(
    ...entries.map((entry) => {
      const row = rows.get(entry.player)?.[0] ?? $("row").content.firstElementChild.cloneNode(true);
      const [place, name, score] = row.cells;
      const link = name.firstElementChild;
      const address = new URL(link.href, location);
      address.searchParams.set("player", entry.player);
      link.href = address;
      row.dataset.player = link.textContent = entry.player;
      row.classList.toggle("me", entry.player === live.dataset.player);
      place.textContent = entry.rank;
      score.textContent = number(entry.score);
      return row;
    }),
  );
  if (body.contains(focused)) focused.focus({ preventScroll: true });
  if (calm) return;
  for (const row of body.rows) {
    const before = rows.get(row.dataset.player);
    const by = before && before[1] - row.getBoundingClientRect().top;
    const zIndex = by > 0 ? 1 : 0;
    const from = before ? { transform: `translateY(${by}px)`, zIndex } : { opacity: 0 };
    if (by !== 0) row.animate([from, { zIndex }], { duration: 450, easing: "ease-out" });
  }
};

const show = (state) => {
  if (!$("top") !== !state.entries.length || !$("around") !== !state.me) return location.reload();
  if (!$("top")) return;
  $("stale").hidden = true;
  $("total").textContent = number(state.total);
  draw($("top"), state.entries);
  const { me } = state;
  if (me) {
    draw($("around"), state.around);
    $("share").textContent = ((100 * (state.total - me.rank + 1)) / state.total).toFixed(1);
  }
  const podium = $("podium");
  while (podium.children.length < Math.min(3, state.entries.length)) podium.append(podium.lastElementChild.cloneNode(true));
  [...podium.children].forEach((step, index) => {
    const entry = state.entries[index];
    step.hidden = !entry;
    if (!entry) return;
    const [name, score, picture] = step.children;
    name.textContent = name.title = entry.player;
    score.textContent = number(entry.score);
    picture.setAttribute("height", heights[entry.rank - 1]);
    picture.setAttribute("aria-label", `Rank ${entry.rank}`);
    picture.lastElementChild.textContent = entry.rank;
  });
  if (rank && me && me.rank !== rank) $("said").textContent = `${me.player}: rank ${rank} → ${me.rank} of ${state.total}`;
  rank = me?.rank;
};

const on = (is) => {
  $("on").hidden = !is;
  $("reload").hidden = is;
};

const again = () => {
  if (source.readyState < 2) return;
  const held = [...document.querySelectorAll("main input")].some((input) => input.value !== input.defaultValue);
  if (held || document.hidden || document.querySelector("[aria-invalid], #twice")) return watch();
  location.reload();
};

const watch = () => {
  source?.close();
  if (document.hidden) return on(false); // takes no place
  source = new EventSource(live.dataset.live);
  const fresh = (is) => {
    $("on").hidden = !is;
    $("stale")?.toggleAttribute("hidden", is);
  };
  source.onopen = () => {
    history.replaceState(1, "");
    on(true);
    fresh(true); // until it says otherwise
  };
  source.onerror = () => {
    on(false);
    if (source.readyState < 2) return;
    const times = history.state ?? 1; // who is refused asks ever more seldom; a reload keeps it
    history.replaceState(Math.min(2 * times, 8), "");
    setTimeout(again, 5000 * times * (1 + Math.random()));
  };
  source.addEventListener("board", (event) => {
    fresh(true);
    show(JSON.parse(event.data));
  });
  source.addEventListener("away", () => fresh(false));
};

if (live && new URLSearchParams(location.search).get("refresh") !== "0") {
  watch();
  document.addEventListener("visibilitychange", watch);
  addEventListener("beforeunload", () => source?.close()); // a reload must not overtake a form
}

const game = $("game");
if (game) {
  const [words, typed, done] = [$("words"), $("typed"), document.createElement("mark")];
  const wanted = words.textContent.trim().split(" ");
  words.prepend(done);
  typed.oninput = () => {
    const given = typed.value.trimStart().split(/\s+/);
    const wrong = given.findIndex((word, at) => word !== wanted[at]);
    const right = wanted.slice(0, wrong < 0 ? given.length : wrong);
    typed.setAttribute("aria-invalid", wrong >= 0 && !wanted[wrong]?.startsWith(given[wrong]));
    $("points").textContent = game.dataset.points * right.join("").length;
    done.textContent = right.join(" ");
    words.lastChild.data = ` ${wanted.slice(right.length).join(" ")}`;
  };
  const end = performance.now() + 1000 * game.dataset.seconds;
  $("left").hidden = $("clock").hidden = false;
  const tick = () => {
    const left = Math.max(0, (end - performance.now()) / 1000);
    $("left").value = left;
    $("seconds").textContent = left.toFixed(1);
    if (left > 0) return setTimeout(tick, 100);
    typed.required = false;
    game.requestSubmit();
  };
  tick();
}
