"use strict";
// Loaded in the head of every page, before anything is drawn.
window.seekbench = (() => {
  const root = document.documentElement;
  const known = new Map();
  const waiting = new Map();

  // Data files are scripts that call this: a page from disk may not fetch.
  function put(name, value) {
    known.set(name, value);
  }

  function load(name) {
    if (known.has(name)) return Promise.resolve(known.get(name));
    if (!waiting.has(name)) {
      waiting.set(name, new Promise((done, failed) => {
        const script = document.createElement("script");
        script.src = `${root.dataset.root}data/${name}.js`;
        script.onload = () => (known.has(name) ? done(known.get(name)) : failed(new Error(`data/${name}.js is damaged`)));
        script.onerror = () => failed(new Error(`data/${name}.js is missing`));
        document.head.append(script);
      }));
    }
    return waiting.get(name);
  }

  function about() {
    return JSON.parse(document.getElementById("about").textContent);
  }

  // An element with attributes and children; text is never read as HTML.
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null));
    return element;
  }

  const themes = ["system", "light", "dark"];
  let theme = "system";
  try {
    theme = localStorage.getItem("seekbench-theme") || theme;
  } catch {
    // Some browsers keep no storage for pages from disk.
  }
  if (!themes.includes(theme)) theme = "system";

  function show() {
    root.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) button.textContent = `Theme: ${theme}`;
    document.dispatchEvent(new Event("seekbench:theme"));
  }

  root.classList.add("scripted");
  show();
  document.addEventListener("DOMContentLoaded", () => {
    show();
    document.getElementById("theme").addEventListener("click", () => {
      theme = themes[(themes.indexOf(theme) + 1) % themes.length];
      try {
        localStorage.setItem("seekbench-theme", theme);
      } catch {
        // Then it holds for this page.
      }
      show();
    });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);

  // The choices of a page stand in its address, so that a link can be sent.
  function choices() {
    return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  }

  function keep(values) {
    const text = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== "")).toString();
    try {
      history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
    } catch {
      // Some browsers allow no changes of an address on disk.
    }
  }

  return { put, load, about, make, choices, keep };
})();
