"use strict";
// Drawing by plotly.js, in the page's colours.
window.seekbench.plots = (() => {
  const drawn = new Map();

  // Plotly reads a few tags in texts.
  function plain(text) {
    return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  }

  function colour(name) {
    const probe = document.createElement("span");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    const found = getComputedStyle(probe).color;
    probe.remove();
    // Plotly knows rgb() only, and a light-dark() of hexadecimal colours is computed to it.
    return found;
  }

  // A name beside an axis, where a long one would take the plot's place; names often differ at their ends.
  const short = (text) => plain(text.length > 26 ? `${text.slice(0, 10)}…${text.slice(-15)}` : text);

  const series = (i) => colour(`series-${(i % 8) + 1}`);
  const symbols = ["circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon", "triangle-down"];
  const symbol = (i) => symbols[i % symbols.length];

  function axis(title, extra = {}) {
    return {
      title: { text: plain(title), standoff: 12 },
      gridcolor: colour("line"),
      linecolor: colour("edge"),
      zeroline: false,
      ticks: "outside",
      tickcolor: colour("edge"),
      automargin: true,
      ...extra,
    };
  }

  // make() gives {data, layout}; it is asked again when colours change.
  function draw(place, make) {
    drawn.set(place, make);
    const { data, layout } = make();
    // Or what follows would lie over the plot after the window's width changed.
    place.style.height = `${layout.height}px`;
    return Plotly.react(
      place,
      data,
      {
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: colour("ink") },
        hoverlabel: { align: "left", bgcolor: colour("paper"), bordercolor: colour("edge"), font: { color: colour("ink") } },
        margin: { l: 60, r: 16, t: 16, b: 56 },
        ...layout,
      },
      { displaylogo: false, displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: "reset" },
    );
  }

  document.addEventListener("seekbench:theme", () => {
    for (const [place, make] of drawn) draw(place, make);
  });

  return { draw, axis, colour, series, symbol, plain, short };
})();
