"use strict";
(() => {
  const { make, load, sortable, plots } = seekbench;
  const about = seekbench.about();
  const at = (id) => document.getElementById(id);
  const systems = about.systems;
  const documents = new Set(about.chosen);
  const PAGE = 20;
  const DOTS = 6000; // that a browser draws without a wait
  let queries = null;
  let scores = null;
  let shown = PAGE;

  for (const table of document.querySelectorAll("table.sortable")) sortable(table, []);
  if (!systems.length) return;

  const four = (value) => (value === null ? "–" : value.toFixed(4));
  const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(4)}`;
  const metric = () => about.metrics[Number(at("metric").value)];
  const mean = (values) => {
    const there = values.filter((value) => value !== null);
    return there.length ? there.reduce((a, b) => a + b, 0) / there.length : null;
  };

  function label(query) {
    const text = queries.texts?.[query];
    return text ? make("span", {}, make("span", { class: "asked" }, text), " ", make("small", {}, queries.ids[query])) : make("span", {}, queries.ids[query]);
  }

  function drawStrip() {
    const count = queries.ids.length;
    const step = Math.max(1, Math.ceil((count * systems.length) / DOTS));
    const kept = [...Array(count).keys()].filter((query) => query % step === 0);
    const rows = systems.map((_, i) => i);
    plots.draw(at("plot"), () => ({
      data: [
        ...rows.map((i) => ({
          type: "scatter", mode: "markers", showlegend: false,
          x: kept.map((query) => scores.scores[i][query]),
          // The same places each time, spread by the golden ratio.
          y: kept.map((query) => i + (((query * 0.618034) % 1) - 0.5) * 0.62),
          text: kept.map((query) => plots.plain((queries.texts?.[query] ?? queries.ids[query]).slice(0, 90))),
          hovertemplate: `%{text}<br>%{x:.4f}<extra>${plots.plain(systems[i].name)}</extra>`,
          marker: { color: plots.series(i), size: 5, opacity: 0.5 },
        })),
        {
          type: "scatter", mode: "markers", showlegend: false, x: rows.map((i) => mean(scores.scores[i])), y: rows,
          hovertemplate: "mean %{x:.4f}<extra></extra>",
          marker: { symbol: "line-ns", size: 30, line: { width: 3, color: plots.colour("ink") } },
        },
      ],
      layout: {
        height: 90 + 62 * systems.length,
        xaxis: plots.axis(metric().name),
        yaxis: plots.axis("", {
          tickvals: rows, ticktext: systems.map((system) => plots.short(system.name)), range: [systems.length - 0.5, -0.5],
          showgrid: false, ticks: "",
        }),
        hovermode: "closest",
      },
    }));
    at("plot").setAttribute("aria-label", `${metric().name} of single queries, a strip for each of ${systems.length} systems`);
    at("plotted").textContent = `A dot is a query, the bar the mean.${step > 1 ? ` Every ${step}th query is drawn.` : ""} `
      + (systems.length > 8 ? "" : systems.map((system, i) => {
        const count = (wanted) => scores.scores[i].filter((value) => value === wanted).length;
        return `${system.name}: ${count(0)} at 0, ${count(1)} at 1`;
      }).join("; ") + ".");
  }

  function drawHardest() {
    const lower = metric().lower ? -1 : 1;
    const means = queries.ids.map((_, query) => mean(scores.scores.map((own) => own[query])));
    const worst = means.map((value, query) => [value, query]).filter(([value]) => value !== null)
      .sort((a, b) => lower * (a[0] - b[0]) || a[1] - b[1]).slice(0, PAGE);
    const body = make("tbody");
    for (const [value, query] of worst) {
      const cells = systems.map((_, i) => make("td", { class: "score", "data-order": scores.scores[i][query] ?? "" }, four(scores.scores[i][query])));
      body.append(make("tr", {}, make("th", { scope: "row", "data-order": queries.ids[query] }, label(query)),
        make("td", { class: "score", "data-order": value }, four(value)), ...cells));
    }
    const head = make("tr", {}, make("th", { scope: "col", "data-kind": "text" }, "query"),
      ...["mean", ...systems.map((system) => system.name)].map((name) => make("th", { scope: "col", class: "score", "data-kind": "score", "data-ascending": true }, name)));
    const table = make("table", { class: "queries" }, make("caption", { class: "hidden" }, `Hardest queries by ${metric().name}`), make("thead", {}, head), body);
    at("hardest").replaceChildren(make("div", { class: "scroll", role: "region", "aria-label": "Hardest queries", tabindex: "0" }, table));
    sortable(table, [[1, metric().lower ? "desc" : "asc"]]);
  }

  function differences() {
    const [a, b] = [Number(at("first").value), Number(at("second").value)];
    const [x, y] = [scores.scores[a], scores.scores[b]];
    const sign = metric().lower ? -1 : 1;
    const all = queries.ids.map((_, query) => ({ query, x: x[query], y: y[query], by: x[query] - y[query] }))
      .filter((each) => each.x !== null && each.y !== null);
    return { a, b, all, sign };
  }

  function drawPair() {
    const { a, b, all, sign } = differences();
    const [one, two] = [systems[a].name, systems[b].name];
    const wins = all.filter((each) => sign * each.by > 0).length;
    const losses = all.filter((each) => sign * each.by < 0).length;
    const p = scores.pairs.find(([i, j]) => i === Math.min(a, b) && j === Math.max(a, b))?.[2];
    const by = (mean(all.map((each) => each.x)) ?? 0) - (mean(all.map((each) => each.y)) ?? 0);
    at("summary").textContent = a === b
      ? "Choose two different systems."
      : `${metric().name}: ${one} ${four(mean(all.map((each) => each.x)))}, ${two} ${four(mean(all.map((each) => each.y)))}, difference ${signed(by)}`
        + ` (paired t-test, ${p < 0.0001 ? "p < 0.0001" : `p = ${p.toFixed(4)}`} after Holm's correction over all pairs). `
        + `${one} is ahead on ${wins} queries, ${two} on ${losses}; ${all.length - wins - losses} are equal.`;
    const wanted = at("find").value.trim().toLowerCase();
    const order = at("order").value;
    const key = { apart: (each) => -Math.abs(each.by), first: (each) => -sign * each.by, second: (each) => sign * each.by }[order];
    const kept = all
      .filter((each) => (order === "apart" ? each.by !== 0 : key(each) < 0))
      .filter((each) => !wanted || queries.ids[each.query].toLowerCase().includes(wanted) || queries.texts?.[each.query]?.toLowerCase().includes(wanted))
      .sort((m, n) => key(m) - key(n) || m.query - n.query);
    const body = make("tbody");
    for (const each of kept.slice(0, shown)) body.append(...pairRows(each, a, b));
    const head = make("tr", {}, ...["query", one, two, "difference", "documents"].map((name, i) => make("th", { scope: "col", class: i && i < 4 ? "score" : null }, name)));
    at("differences").replaceChildren(kept.length
      ? make("div", { class: "scroll", role: "region", "aria-label": "Queries on which the two differ", tabindex: "0" },
        make("table", { class: "queries" }, make("caption", { class: "hidden" }, `Queries on which ${one} and ${two} differ`), make("thead", {}, head), body))
      : make("p", { class: "dim" }, "No such queries."));
    at("more").hidden = kept.length <= shown;
    at("more").textContent = `Show more (${kept.length - shown} left)`;
    seekbench.keep({ metric: at("metric").value === "0" ? "" : metric().name, first: one, second: two });
  }

  function pairRows({ query, x, y, by }, a, b) {
    const id = `documents-${query}`;
    const ahead = (metric().lower ? -by : by) > 0;
    const button = documents.has(query)
      ? make("button", { type: "button", class: "quiet", "aria-expanded": "false", "aria-controls": id }, "show", make("span", { class: "hidden" }, ` documents of ${queries.ids[query]}`))
      : make("span", { class: "dim" }, "not kept");
    const row = make("tr", {}, make("th", { scope: "row" }, label(query)), make("td", { class: "score" }, four(x)),
      make("td", { class: "score" }, four(y)), make("td", { class: `score ${ahead ? "up" : "down"}` }, signed(by)), make("td", {}, button));
    const inside = make("td", { colspan: "5" });
    const opened = make("tr", { id, class: "opened", hidden: true }, inside);
    if (documents.has(query)) {
      button.addEventListener("click", async () => {
        const expand = button.getAttribute("aria-expanded") === "false";
        button.setAttribute("aria-expanded", String(expand));
        button.firstChild.textContent = expand ? "hide" : "show";
        opened.hidden = !expand;
        if (!expand || inside.childNodes.length) return;
        try {
          inside.append(found(await load(`${about.file}/documents`), query, a, b));
        } catch (error) {
          inside.append(make("p", {}, error.message));
        }
      });
    }
    return [row, opened];
  }

  function found(data, query, a, b) {
    const list = (i) => {
      const hits = data.hits[query][i];
      const other = new Set((data.hits[query][i === a ? b : a] ?? []).map(([number]) => number));
      if (!hits) return make("div", {}, make("h4", {}, systems[i].name), make("p", { class: "dim" }, "Its run file is gone."));
      return make("div", {}, make("h4", {}, systems[i].name),
        hits.length ? make("ol", { class: "found" }, ...hits.map(([number, grade]) => entry(data, number, grade, other.has(number) ? "in both" : null))) : make("p", { class: "dim" }, "No documents."));
    };
    const relevant = data.relevant[query];
    const rank = (rank) => (rank === null ? "?" : rank === 0 ? "not found" : `rank ${rank}`);
    return make("div", {},
      make("div", { class: "pair" }, list(a), list(b)),
      relevant.length ? make("details", {}, make("summary", {}, `Judged relevant (${relevant.length})`),
        make("ul", { class: "found" }, ...relevant.map(([number, grade, ranks]) => entry(data, number, grade, `${systems[a].name}: ${rank(ranks[a])}, ${systems[b].name}: ${rank(ranks[b])}`)))) : null);
  }

  function entry(data, number, grade, said) {
    const [id, title, text] = data.documents[number];
    const judged = grade === null ? (data.judged ? "unjudged" : null) : grade > 0 ? `relevant (${grade})` : `not relevant (${grade})`;
    return make("li", { class: grade > 0 ? "relevant" : null },
      make("div", {}, make("b", {}, title || id), " ", title ? make("small", {}, id) : null, " ",
        judged ? make("span", { class: "badge" }, judged) : null, " ", said ? make("small", { class: "dim" }, said) : null),
      text ? make("div", { class: "passage" }, text) : null);
  }

  async function change() {
    const wanted = metric();
    try {
      [queries, scores] = await Promise.all([load(`${about.file}/queries`), load(`${about.file}/${wanted.file}`)]);
    } catch (error) {
      at("plotted").textContent = error.message;
      return;
    }
    if (metric() !== wanted) {
      change(); // another was chosen meanwhile
      return;
    }
    drawStrip();
    if (systems.length > 1) drawPair();
    drawHardest();
  }

  function again() {
    shown = PAGE;
    drawPair();
  }

  const asked = seekbench.choices();
  const place = (name, otherwise) => {
    const i = systems.findIndex((system) => system.name === name);
    return String(i < 0 ? Math.min(otherwise, systems.length - 1) : i);
  };
  const chosen = about.metrics.findIndex((each) => each.name === asked.metric);
  if (chosen > 0) at("metric").value = String(chosen);
  at("metric").addEventListener("change", change);
  change();
  if (systems.length < 2) return;
  at("first").value = place(asked.first, 0);
  at("second").value = place(asked.second, 1);
  for (const id of ["first", "second", "order"]) at(id).addEventListener("change", again);
  at("find").addEventListener("input", again);
  at("more").addEventListener("click", () => {
    shown += PAGE;
    drawPair();
  });
  at("controls").addEventListener("submit", (event) => event.preventDefault());
})();
