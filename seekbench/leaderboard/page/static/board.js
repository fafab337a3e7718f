"use strict";
(() => {
  const { make, load, sortable, plots } = seekbench;
  const about = seekbench.about();
  const at = (id) => document.getElementById(id);
  const holder = at("table");
  const status = at("status");
  const inputs = ["system", "family", "dataset", "language"];
  const hidden = new Set();
  const LABELS = 8; // points up to which all have their names beside them
  let table = null;
  let sorted = null; // {title, direction}: columns of another metric's table may stand elsewhere
  let chosen = false; // whether the reader has sorted
  let plot = about.plot;

  const folded = (id) => at(id).value.trim().toLowerCase();

  function heads() {
    // DataTables takes hidden columns out of the document.
    return table.columns().header().toArray();
  }

  function rowShown(text, data, index) {
    const row = table ? table.row(index).node() : null;
    if (!row) return true;
    const system = folded("system");
    const family = at("family").value;
    return (!system || row.cells[0].querySelector("a").textContent.toLowerCase().includes(system))
      && (!family || row.dataset.family === family);
  }

  function columnShown(head) {
    const { title, dataset, languages } = head.dataset;
    if (hidden.has(title)) return false;
    if (!dataset) return true;
    const language = at("language").value;
    return (!folded("dataset") || dataset.toLowerCase().includes(folded("dataset")))
      && (!language || languages.split(" ").includes(language));
  }

  function apply() {
    heads().forEach((head, i) => {
      if (i) table.column(i).visible(columnShown(head), false);
    });
    table.draw();
    holder.classList.toggle("no-heat", !at("heat").checked);
    holder.classList.toggle("show-intervals", at("intervals").checked);
    say();
    remember();
  }

  function remember() {
    seekbench.keep({
      metric: at("metric").value === "0" ? "" : about.metrics[at("metric").value].name,
      ...Object.fromEntries(inputs.map((id) => [id, at(id).value])),
      sort: chosen ? `${sorted.direction}:${sorted.title}` : "",
    });
  }

  function say() {
    const shown = table.rows({ search: "applied" }).count();
    const columns = heads().filter((head) => head.dataset.dataset);
    const datasets = columns.filter(columnShown).length;
    const partly = columns.length > 1 && datasets < columns.length ? "; means stay over all datasets" : "";
    const head = heads().find((each) => each.dataset.title === sorted.title);
    const ends = ["system", "text"].includes(head.dataset.kind) ? ["A first", "Z first"] : ["lowest first", "highest first"];
    const order = `, sorted by ${sorted.title}, ${ends[sorted.direction === "asc" ? 0 : 1]}`;
    status.textContent = `${shown} of ${table.rows().count()} systems, ${datasets} of ${columns.length} columns of datasets${order}${partly}.`;
  }

  function choose() {
    const field = at("chooser").querySelector("fieldset");
    field.querySelectorAll("label").forEach((label) => label.remove());
    heads().slice(1).forEach((head) => {
      const box = make("input", { type: "checkbox", autocomplete: "off" });
      box.checked = !hidden.has(head.dataset.title);
      box.addEventListener("change", () => {
        if (box.checked) hidden.delete(head.dataset.title);
        else hidden.add(head.dataset.title);
        apply();
      });
      field.append(make("label", { class: "check" }, box, ` ${head.dataset.title}`));
    });
  }

  function open() {
    const element = holder.querySelector("table");
    const titles = [...element.tHead.rows[0].cells].map((head) => head.dataset.title);
    let place = sorted ? titles.indexOf(sorted.title) : -1;
    let direction = sorted?.direction;
    if (place < 0) {
      place = Number(element.dataset.sorted);
      direction = "ascending" in element.tHead.rows[0].cells[place].dataset ? "asc" : "desc";
    }
    sorted = { title: titles[place], direction };
    table = sortable(element, [[place, direction]], rowShown);
    table.on("order", () => {
      const [first] = table.order();
      if (!first) return;
      const now = { title: heads()[first[0]].dataset.title, direction: first[1] };
      // A table that is opened tells of its own order, too.
      chosen = chosen || now.title !== sorted.title || now.direction !== sorted.direction;
      sorted = now;
      say();
      remember();
    });
    choose();
    apply();
    drawPlot();
  }

  async function change() {
    const chosen = Number(at("metric").value);
    const metric = about.metrics[chosen];
    try {
      const value = chosen ? await load(`tables/${metric.file}`) : null;
      if (Number(at("metric").value) !== chosen) return; // another was chosen meanwhile
      if (table) table.destroy();
      table = null;
      // Made by the same template as this page; texts in it are escaped.
      holder.innerHTML = value ? value.html : original;
      plot = value ? value.plot : about.plot;
      open();
    } catch (error) {
      status.textContent = error.message;
    }
  }

  function drawPlot() {
    const cost = plot.costs.find((each) => each.name === at("costs").value) ?? plot.costs[0];
    const section = at("plot").closest("section");
    const points = cost ? plot.points.filter((point) => point.costs[cost.name] !== null) : [];
    at("plot").hidden = points.length === 0;
    if (!points.length) {
      at("plotted").textContent = "None of these systems has both a figure and a cost.";
      section.querySelector(".controls").hidden = true;
      return;
    }
    const of = (point) => point.costs[cost.name] / cost.unit;
    const front = points.filter((point) => point.front.includes(cost.name)).sort((a, b) => of(a) - of(b));
    // Names of the points in the right quarter would leave the plot.
    const spent = points.map(of).map(Math.log);
    const right = Math.exp(Math.min(...spent) + 0.75 * (Math.max(...spent) - Math.min(...spent)));
    // Of a long front, every other name stands below.
    const side = (point) => `${front.length > 4 && front.indexOf(point) % 2 ? "bottom" : "top"} ${of(point) > right ? "left" : front.length > 4 ? "right" : "center"}`;
    const families = [...new Set(points.map((point) => point.family))];
    plots.draw(at("plot"), () => ({
      data: [
        {
          x: front.map(of), y: front.map((point) => point.score), mode: "lines", hoverinfo: "skip", showlegend: false,
          line: { color: plots.colour("edge"), width: 1.5, dash: "dot", shape: cost.more === plot.lower ? "hv" : cost.more ? "vh" : "hv" },
        },
        ...families.map((family, i) => {
          const own = points.filter((point) => point.family === family);
          return {
            x: own.map(of), y: own.map((point) => point.score), mode: "markers+text", name: plots.plain(family),
            text: own.map((point) => (points.length <= LABELS || front.includes(point) ? plots.short(point.system) : "")),
            textposition: own.map(side), cliponaxis: false,
            hovertext: own.map((point) => plots.plain(point.system)),
            hovertemplate: `%{hovertext}<br>${plots.plain(plot.quality)} %{y:.4f}<br>${plots.plain(cost.title)} %{x:,.4~g}<extra></extra>`,
            marker: {
              color: plots.series(i), symbol: plots.symbol(i), size: own.map((point) => (front.includes(point) ? 11 : 8)),
              line: { width: 1, color: plots.colour("paper") },
            },
          };
        }),
      ],
      layout: {
        height: 420,
        xaxis: plots.axis(`${cost.title} (logarithmic, ${cost.more ? "right" : "left"} is cheaper)`, { type: "log", dtick: undefined, nticks: 8 }),
        yaxis: plots.axis(plot.quality, { autorange: plot.lower ? "reversed" : true }),
        showlegend: families.length > 1,
        legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
      },
    }));
    const names = front.map((point) => point.system).join(", ");
    at("plot").setAttribute("aria-label", `${plot.quality} against ${cost.title} of ${points.length} systems; the figures stand in the table`);
    const lacking = plot.left_out.length + plot.points.length - points.length;
    at("plotted").textContent = `${cost.about}.${names ? ` On the front (dotted line), where no other system is both better and cheaper: ${names}.` : ""}`
      + (points.length > LABELS ? " The names of the others show under the pointer." : "")
      + (lacking ? ` ${lacking} without a figure or this cost left out.` : "");
  }

  const original = holder.innerHTML;
  const asked = seekbench.choices();
  const order = /^(asc|desc):(.+)$/.exec(asked.sort || "");
  if (order) {
    sorted = { title: order[2], direction: order[1] };
    chosen = true;
  }
  const metric = about.metrics.findIndex((each) => each.name === asked.metric);
  if (metric > 0) at("metric").value = String(metric);
  inputs.forEach((id) => {
    if (asked[id]) at(id).value = asked[id];
    at(id).addEventListener(at(id).tagName === "SELECT" ? "change" : "input", apply);
  });
  // A select has no such option for what an old address asks.
  ["family", "language"].forEach((id) => {
    if (at(id).selectedIndex < 0) at(id).value = "";
  });
  ["heat", "intervals"].forEach((id) => at(id).addEventListener("change", apply));
  at("metric").addEventListener("change", change);
  at("costs").append(...about.plot.costs.map((cost) => make("option", { value: cost.name }, cost.title)));
  at("costs").addEventListener("change", drawPlot);
  at("controls").addEventListener("submit", (event) => event.preventDefault());
  at("controls").addEventListener("reset", () => {
    hidden.clear();
    sorted = null;
    chosen = false;
    // The form's own values are set after this event.
    setTimeout(change);
  });
  if (metric > 0) change();
  else open();
})();
