// A lesson on a projector: arrow keys lead on and back, and the full screen stays, as only the page's
// content is replaced. Without this the links and buttons do the same, a page at a time.
async function show(address, options) {
  const answer = await fetch(address, options);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (!page.querySelector("main.present")) return location.assign(answer.url); // a line, or the end
  document.querySelector("main").replaceWith(page.querySelector("main"));
  document.title = page.title;
  history.pushState(null, "", answer.url);
  (document.getElementById("see") || document.body).scrollIntoView();
}

addEventListener("keydown", (event) => {
  const rel = { ArrowRight: "next", ArrowLeft: "prev", PageDown: "next", PageUp: "prev" }[event.key];
  const link = rel && !event.altKey && document.querySelector(`main [rel=${rel}]`);
  if (link) event.preventDefault(), show(link.href);
});
addEventListener("click", (event) => {
  const link = event.target.closest("main [rel]");
  if (event.target.closest("[data-full-screen]")) document.documentElement.requestFullscreen();
  else if (link && !event.ctrlKey && !event.metaKey) event.preventDefault(), show(link.href);
});
addEventListener("submit", (event) => {
  event.preventDefault();
  const body = new URLSearchParams(new FormData(event.target, event.submitter));
  show(event.target.action, { method: "POST", body });
});
addEventListener("popstate", () => location.reload());
