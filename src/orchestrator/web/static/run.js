// The log of a run as it grows: follows or pauses, and goes on where a connection broke off.
(() => {
  "use strict";
  const MOST = 2000; // entries that a page holds while it follows; earlier ones are a click away
  const NEAR = 200; // pixels from the end that still count as being there
  const AGAIN_MS = 4000;
  const log = document.getElementById("log");
  if (!log) return;
  const said = log.dataset;
  const state = document.getElementById("log-state");
  const follow = document.getElementById("follow");
  const foldAll = document.getElementById("fold-all");
  let stream = null;
  let again = 0;

  const page = document.scrollingElement;
  const isAtEnd = () => window.innerHeight + window.scrollY >= page.scrollHeight - NEAR;
  const toEnd = () => window.scrollTo(0, page.scrollHeight);

  // -- folds

  let isOpen = false;
  const unfold = (place) => { for (const one of place.querySelectorAll("details")) one.open = isOpen; };
  foldAll.hidden = false;
  foldAll.addEventListener("click", () => {
    isOpen = !isOpen;
    foldAll.textContent = isOpen ? foldAll.dataset.close : foldAll.dataset.open;
    unfold(log);
  });
  document.body.addEventListener("htmx:load", (event) => { if (isOpen && log.contains(event.target)) unfold(event.target); });

  // -- following

  function read(html) {
    const pieces = document.createDocumentFragment();
    pieces.append(...new DOMParser().parseFromString(html, "text/html").body.childNodes);
    return pieces;
  }

  function append(event) {
    const wasAtEnd = isAtEnd();
    const news = read(event.data);
    if (isOpen) unfold(news);
    log.append(news);
    said.end = event.lastEventId;
    if (wasAtEnd) {
      trim();
      toEnd();
    }
  }

  function trim() {
    const entries = log.querySelectorAll("li.entry");
    if (entries.length <= MOST) return;
    let last = entries.length - Math.floor(MOST * 0.75);
    const first = entries[last].dataset.place;
    while (last > 0 && entries[last - 1].dataset.place === first) last -= 1; // a record stays whole
    for (const one of [...entries].slice(0, last)) one.remove();
    const link = document.createElement("a");
    link.textContent = said.earlier;
    link.href = `${said.page}?before=${first}`;
    link.setAttribute("hx-get", `${said.entries}?before=${first}`);
    link.setAttribute("hx-target", "closest li");
    link.setAttribute("hx-swap", "outerHTML");
    const item = log.querySelector("li.earlier") || document.createElement("li");
    item.className = "earlier";
    item.replaceChildren(link);
    log.prepend(item);
    if (window.htmx) window.htmx.process(item);
  }

  function summarise(event) {
    const place = document.getElementById("summary");
    if (window.Idiomorph) window.Idiomorph.morph(place, event.data, { morphStyle: "innerHTML" });
    else place.replaceChildren(read(event.data));
  }

  function end() {
    close();
    state.textContent = said.over;
    follow.hidden = true;
    for (const name of ["stop", "log-wait"]) document.getElementById(name)?.remove();
  }

  function close() {
    clearTimeout(again);
    if (stream) stream.close();
    stream = null;
  }

  function open() {
    close();
    stream = new EventSource(`${said.live}?after=${said.end}`);
    stream.addEventListener("open", () => { state.textContent = said.following; });
    stream.addEventListener("records", append);
    stream.addEventListener("summary", summarise);
    stream.addEventListener("over", end);
    stream.addEventListener("error", () => {
      if (!stream) return;
      state.textContent = said.lost;
      // A refusal ends a stream for good; a lost connection is mended by the browser.
      if (stream.readyState === EventSource.CLOSED) again = setTimeout(open, AGAIN_MS);
    });
  }

  function press(isFollowing) {
    follow.setAttribute("aria-pressed", String(isFollowing));
    follow.textContent = isFollowing ? follow.dataset.pause : follow.dataset.follow;
    document.getElementById("log-wait")?.classList.toggle("is-paused", !isFollowing);
    if (isFollowing) {
      open();
      toEnd();
    } else {
      close();
      state.textContent = said.paused;
    }
  }

  if (!said.live) return;
  follow.hidden = false;
  follow.addEventListener("click", () => press(follow.getAttribute("aria-pressed") !== "true"));
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => { if (event.persisted && follow.getAttribute("aria-pressed") === "true") open(); });
  press(true);
})();
