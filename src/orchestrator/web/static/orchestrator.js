// What a page does beside being read. Without it everything is there, only not fresh.
(() => {
  "use strict";
  const words = document.body.dataset;
  const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

  function age(seconds) {
    const whole = Math.max(Math.floor(seconds), 0);
    for (const [name, size] of units) {
      if (whole >= size) return words[name].replace("{count}", Math.floor(whole / size));
    }
    return words.now;
  }

  function freshen() {
    const now = Date.now();
    for (const one of document.querySelectorAll("time[data-age]")) {
      const seconds = (now - Date.parse(one.dateTime)) / 1000;
      const said = age(seconds);
      const text = one.dataset.age === "ago" && seconds >= 1 ? words.ago.replace("{age}", said) : said;
      if (one.textContent !== text) one.textContent = text;
    }
  }

  // The switch works as a link; here it does so without a new page.
  function switchTheme(event) {
    const link = event.target.closest("[data-theme-switch]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const theme = link.dataset.themeSwitch;
    document.documentElement.dataset.theme = theme;
    document.querySelector("meta[name=color-scheme]").content = theme === "auto" ? "light dark" : theme;
    for (const one of link.parentElement.children) one.removeAttribute("aria-current");
    link.setAttribute("aria-current", "true");
    fetch(link.href, { redirect: "manual", credentials: "same-origin" }).catch(() => {});
  }

  // A part that is fetched anew must not fold what somebody unfolded, nor empty what somebody writes.
  function keep() {
    if (!window.Idiomorph) return;
    const calls = window.Idiomorph.defaults.callbacks;
    calls.beforeAttributeUpdated = (name, node) => !(name === "open" && node.nodeName === "DETAILS");
    window.Idiomorph.defaults.ignoreActiveValue = true;
    window.Idiomorph.defaults.restoreFocus = true;
  }

  // A form is sent once, however often its button is pressed.
  function once(event) {
    const form = event.target;
    if (form.dataset.sent) event.preventDefault();
    else form.dataset.sent = "1";
  }

  document.addEventListener("click", switchTheme);
  document.addEventListener("submit", (event) => { if (event.target.method === "post") once(event); });
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) freshen(); });
  keep();
  setInterval(() => { if (!document.hidden) freshen(); }, 5000);
})();
