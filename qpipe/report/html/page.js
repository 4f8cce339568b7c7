"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const by = new Map(data.rows.map((row) => [row.id, row]));
  const quality = data.scores.filter((score) => score.role === "quality");
  const speeds = data.scores.filter((score) => score.role === "speed");
  const state = {
    language: navigator.language.startsWith("zh") ? "zh" : "en",
    theme: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light",
    score: quality.find((score) => score.log) ?? quality[0], model: data.models[0], across: "size", chosen: null, bounds: {},
  };
  const $ = (id) => document.getElementById(id);
  const views = [];

  function words(key, fields = {}) {
    return data.words[state.language][key].replace(/\{(\w+)\}/g, (_, name) => fields[name] ?? "");
  }

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  const sizes = data.rows.map((row) => row.size).filter((size) => size !== null);
  const [unit, scale] = Math.max(...sizes, 0) < 1000 * 2 ** 20 ? ["MiB", 2 ** 20] : ["GiB", 2 ** 30];
  const shortSize = (size) => `${(size / scale).toPrecision(3)} ${unit}`;

  // Where there are several models, a row's name alone says too little.
  const named = (row) => (data.models.length > 1 ? `${row.name} · ${row.model}` : row.name);

  // -- the table -------------------------------------------------------------------------------

  const tables = [...document.querySelectorAll("#table table")];
  const lines = [...document.querySelectorAll("#table tbody tr")];

  function sortBy(table, column, button) {
    const header = button.closest("th");
    const up = header.getAttribute("aria-sort") !== "ascending";
    for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = (line) => line.cells[column].dataset.value ?? line.cells[column].textContent;
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y, undefined, { numeric: true }) : x - y;
      return up ? order : -order;
    }));
  }

  function show() {
    const wanted = $("filter").value.trim().toLowerCase().split(/\s+/);
    let shown = 0;
    const front = new Set(state.score ? data.front[state.score.key] : []);
    for (const line of lines) {
      line.querySelector("button").classList.toggle("front", front.has(line.dataset.id));
      const text = `${line.dataset.model} ${line.textContent}`.toLowerCase();
      const fits = wanted.every((word) => text.includes(word)) &&
        (state.chosen === null || line.dataset.id === state.chosen);
      line.hidden = !fits;
      line.classList.toggle("chosen", line.dataset.id === state.chosen);
      line.querySelector("button").setAttribute("aria-pressed", line.dataset.id === state.chosen);
      shown += fits;
    }
    for (const table of tables) table.parentElement.hidden = [...table.tBodies[0].rows].every((l) => l.hidden);
    $("count").textContent = words("count", { shown, every: lines.length });
    $("all").hidden = shown === lines.length;
  }

  function choose(id) {
    state.chosen = state.chosen === id ? null : id;
    show();
    for (const view of views) if (view.signal("chosen") !== undefined) view.signal("chosen", state.chosen).run();
  }

  // -- the pick --------------------------------------------------------------------------------

  const better = (score, a, b) => (score.better === "lower" ? a < b : a > b);
  // Levels are chosen among those of one model: another's are measured against another reference.
  const measured = (score) => data.rows.filter((row) => row.model === state.model && row.size !== null && row.values[score.key]);
  const best = (score, rows) => rows.reduce((a, b) => (better(score, b.values[score.key].value, a.values[score.key].value) ? b : a));
  const smallest = (rows) => rows.reduce((a, b) => (b.size < a.size ? b : a));

  function bestWithin(score, most) {
    const rows = measured(score).filter((row) => row.size <= most);
    if (!rows.length) {
      const least = smallest(measured(score));
      return [null, words("none_why", { name: named(least), value: shortSize(least.size) })];
    }
    const row = best(score, rows);
    const value = row.values[score.key];
    let why = words("best_why", { score: score.label, value: value.text, count: rows.length, size: shortSize(row.size) });
    const alike = rows.filter((other) => other.size < row.size && overlap(value, other.values[score.key]));
    if (alike.length) why += " " + words("overlap", { name: named(smallest(alike)), size: shortSize(smallest(alike).size) });
    return [row, why];
  }

  function smallestWithin(score, bound) {
    const rows = measured(score).filter((row) => !better(score, bound, row.values[score.key].value));
    if (!rows.length) {
      const next = best(score, measured(score));
      return [null, words("none_why", { name: named(next), value: next.values[score.key].text })];
    }
    const row = smallest(rows);
    return [row, words("smallest_why", { score: score.label, value: row.values[score.key].text, count: rows.length, size: shortSize(row.size) })];
  }

  // Only intervals of what was measured token by token against one reference are compared.
  function overlap(a, b) {
    return a.paired && b.paired && a.low <= b.high && b.low <= a.high;
  }

  function bounds(score) {
    const key = `${state.model} ${score.key}`;
    if (!state.bounds[key]) {
      const rows = measured(score);
      const reference = rows.find((row) => row.reference);
      const levels = rows.filter((row) => !row.reference);
      const middle = [...(levels.length ? levels : rows)].sort((a, b) => a.size - b.size)[Math.floor(levels.length / 2)] ?? rows[0];
      const start = score.log ? 0.01 : reference
        ? reference.values[score.key].value * (score.better === "lower" ? 1.01 : 0.99)
        : middle.values[score.key].value;
      state.bounds[key] = { size: Number((middle.size / scale).toPrecision(2)), score: Number(start.toPrecision(3)) };
    }
    return state.bounds[key];
  }

  function drawPick() {
    const panel = $("pick");
    const score = state.score;
    if (!quality.length) return;
    panel.hidden = false;
    const models = make("select", { id: "model" });
    for (const each of data.models) models.append(make("option", { value: each, ...(each === state.model && { selected: "" }) }, each));
    models.onchange = () => { state.model = models.value; drawPick(); $("model").focus(); };
    const chosen = data.models.length > 1 ? make("label", {}, `${words("model")} `, models, " ") : "";
    const selector = make("select", { id: "score" });
    for (const each of quality) selector.append(make("option", { value: each.key, ...(each === score && { selected: "" }) }, each.label));
    selector.onchange = () => { state.score = quality.find((each) => each.key === selector.value); draw(); $("score").focus(); };
    const question = (label, field, suffix, answer) => {
      const input = make("input", { type: "number", step: "any", min: "0", value: limit[field], id: `bound-${field}` });
      const output = make("output", { "aria-live": "polite", for: `bound-${field}` });
      const update = () => {
        limit[field] = Number(input.value);
        const [row, why] = answer(limit[field]);
        const answered = make("p", { class: "answer" }, row ? named(row) : words("none"));
        output.replaceChildren(answered, make("p", { class: "soft" }, why));
      };
      input.oninput = update;
      update();
      return make("div", {}, make("label", {}, `${label} `, input, ` ${suffix}`), output);
    };
    const judged = make("p", {}, chosen, make("label", {}, `${words("metric")} `, selector), ` (${words(score.better)})`);
    if (!measured(score).length) {
      panel.replaceChildren(make("h2", { id: "pick-title" }, words("pick")), judged, make("p", {}, words("unmeasured")));
      return;
    }
    const limit = bounds(score);
    panel.replaceChildren(
      make("h2", { id: "pick-title" }, words("pick")), judged,
      make("div", { class: "picks" },
        question(words("best"), "size", unit, (value) => bestWithin(score, value * scale)),
        question(words("smallest", { score: score.label, bound: words(score.better === "lower" ? "at_most" : "at_least") }),
          "score", score.unit, (value) => smallestWithin(score, value))),
    );
  }

  // -- the charts ------------------------------------------------------------------------------

  function colours() {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(`--${name}`).trim();
    return { ink: of("ink"), soft: of("soft"), rule: of("rule"), card: of("card"), front: of("front") };
  }

  // Okabe and Ito's colours, which stay apart in every kind of colour blindness; the dark set is lighter.
  const palette = {
    light: ["#0072b2", "#b34700", "#00795a", "#a03d78", "#7a6a00", "#1f6f8b", "#444444"],
    dark: ["#56b4e9", "#ff9e4a", "#3fcfa0", "#e79ac4", "#f0e442", "#9fd4ff", "#cccccc"],
  };

  function settings() {
    const colour = colours();
    const axis = { labelFontSize: 12, titleFontSize: 12, labelColor: colour.soft, titleColor: colour.soft, gridColor: colour.rule, domainColor: colour.soft, tickColor: colour.soft, titleFontWeight: 500 };
    return {
      background: "transparent", font: "system-ui, sans-serif", axis,
      legend: { labelFontSize: 12, titleFontSize: 12, labelColor: colour.ink, titleColor: colour.soft, orient: "bottom", columns: innerWidth < 600 ? 2 : 5, labelLimit: 200 },
      view: { stroke: null }, range: { category: palette[state.theme] },
      title: { color: colour.ink, fontSize: 14, anchor: "start" },
    };
  }

  // Marks the rows that have room for their names: those on the front first, from small to large.
  function label(rows, log, wide) {
    const scaled = (value) => (log ? Math.log(value) : value);
    const across = (value) => (wide ? Math.log(value) : value);
    const span = (values) => [Math.min(...values), Math.max(...values) - Math.min(...values) || 1];
    const [left, width] = span(rows.map((row) => across(row.x)));
    const [low, height] = span(rows.flatMap((row) => [row.low ?? row.y, row.y, row.high ?? row.y]).filter((y) => !log || y > 0).map(scaled));
    const room = Math.max(document.querySelector("main").clientWidth - 100, 200);
    const taken = [];
    for (const row of [...rows].sort((a, b) => b.front - a.front || a.x - b.x)) {
      const [x, y] = [(across(row.x) - left) / width * room, (scaled(row.y) - low) / height * 300];
      const end = x + 10 + 7 * Math.min(row.name.length, 20);
      row.labelled = end < room + 60 && taken.every((other) => x > other.end || end < other.x || Math.abs(y - other.y) > 13);
      if (row.labelled) taken.push({ x, end, y });
    }
  }

  function qualityChart(score) {
    const colour = colours();
    const rows = data.rows.filter((row) => row.values[score.key] && row[state.across] !== null).map((row) => {
      const value = row.values[score.key];
      return {
        id: row.id, name: row.name, full: named(row), model: row.model, kind: row.kind, text: value.text, reference: row.reference,
        x: state.across === "size" ? row.size / scale : row.bpw, size: shortSize(row.size), y: value.value,
        // A logarithmic axis has no place for zero.
        low: value.low === null ? null : score.log ? Math.max(value.low, value.value / 10) : value.low, high: value.high,
        front: data.front[score.key].includes(row.id),
      };
    }).filter((row) => !score.log || row.y > 0);
    // Sizes of several models may be far apart.
    const wide = Math.max(...rows.map((row) => row.x)) > 10 * Math.min(...rows.map((row) => row.x));
    label(rows, score.log, wide);
    const group = data.models.length > 1 ? "model" : "kind";
    const x = { field: "x", type: "quantitative", title: state.across === "size" ? words("size", { unit }) : words("bpw"), scale: wide ? { type: "log" } : { zero: false } };
    const y = { field: "y", type: "quantitative", title: `${score.label} (${words(score.better)})`, scale: score.log ? { type: "log" } : { zero: false } };
    const grouped = { field: group, type: "nominal", title: words(group) };
    const faded = { condition: { test: "chosen === null || chosen === datum.id", value: 1 }, value: 0.2 };
    const bars = rows.some((row) => row.low !== null);
    const layers = [
      { transform: [{ filter: "datum.front" }], mark: { type: "line", color: colour.front, strokeDash: [4, 3], opacity: 0.8, aria: false }, encoding: { x, y, ...(group === "model" && { detail: { field: "model" } }) } },
      ...(bars ? [{ transform: [{ filter: "datum.low !== null" }], mark: { type: "rule", aria: false, color: colour.soft }, encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" }, opacity: faded } }] : []),
      { mark: { type: "text", align: "left", dx: 7, dy: -7, fontSize: 11, limit: 130, color: colour.soft, aria: false }, transform: [{ filter: "datum.labelled" }], encoding: { x, y, text: { field: "name" }, opacity: faded } },
      {
        name: "points", mark: { type: "point", filled: true, size: 90, cursor: "pointer", stroke: colour.card, strokeWidth: 1 },
        encoding: {
          x, y, opacity: faded,
          color: grouped, shape: grouped,
          tooltip: [{ field: "full", title: words("model") }, { field: "text", title: score.label }, { field: "size", title: words("size", { unit }) }],
          description: { field: "description" },
        },
        transform: [{ calculate: `datum.full + ', ' + datum.size + ', ' + datum.text`, as: "description" }],
      },
    ];
    return { data: { values: rows }, width: "container", height: innerWidth < 600 ? 280 : 380, layer: layers, params: [{ name: "chosen", value: state.chosen }] };
  }

  function speedChart(unit, scores) {
    const rows = scores.flatMap((score) => data.rows.filter((row) => row.values[score.key]).map((row) => ({
      id: row.id, name: named(row), score: score.label, x: row.values[score.key].value, text: row.values[score.key].text,
    })));
    return {
      data: { values: rows }, width: "container", height: 60 + new Set(rows.map((row) => row.name)).size * (data.rows.length > 40 ? 12 : 12 + 10 * scores.length),
      mark: { type: "bar", cornerRadiusEnd: 2, cursor: "pointer" },
      encoding: {
        y: { field: "name", type: "nominal", sort: data.rows.map(named), title: null, axis: { labelLimit: innerWidth < 600 ? 110 : 220 } },
        ...(scores.length > 1 && { yOffset: { field: "score" } }),
        x: { field: "x", type: "quantitative", title: unit },
        color: { field: "score", type: "nominal", title: null, ...(scores.length === 1 && { legend: null }) },
        tooltip: [{ field: "name", title: words("model") }, { field: "score", title: unit }, { field: "text", title: words("speed", { unit }) }],
      },
    };
  }

  const quantile = new Map([["median", "circle"], ["99 %", "square"], ["99.9 %", "triangle-up"], ["max", "cross"]]);

  // A line for each model, from the median of its tokens to the worst.
  function quantileChart(rows) {
    const names = [...quantile.keys()];
    const values = rows.flatMap((row) => names.filter((name) => row.spread.marks[name] > 0).map((name) => ({ id: row.id, name: named(row), mark: name, x: row.spread.marks[name], text: row.spread.marks[name].toPrecision(3) })));
    const y = { field: "name", type: "nominal", sort: rows.map(named), title: null, axis: { labelLimit: innerWidth < 600 ? 110 : 220 } };
    const x = { field: "x", type: "quantitative", scale: { type: "log" }, title: words("divergence") };
    return {
      data: { values }, width: "container", height: 80 + rows.length * (rows.length > 40 ? 12 : 22),
      layer: [
        { mark: { type: "line", color: colours().soft, aria: false }, encoding: { x, y, detail: { field: "name" } } },
        {
          mark: { type: "point", filled: true, size: 60, cursor: "pointer" },
          encoding: {
            x, y, color: { field: "mark", type: "nominal", title: null, scale: { domain: names } },
            shape: { field: "mark", type: "nominal", title: null, scale: { domain: names, range: [...quantile.values()] } },
            tooltip: [{ field: "name", title: words("model") }, { field: "mark", title: words("divergence") }, { field: "text", title: "nats" }],
          },
        },
      ],
    };
  }

  function histogram(row) {
    const values = row.spread.bins.map((bin) => ({ ...bin, shown: `${(100 * bin.share).toPrecision(3)} %`, range: `${bin.low.toPrecision(2)} … ${bin.high.toPrecision(2)}` }));
    return {
      data: { values }, width: "container", height: 220,
      mark: { type: "rect", stroke: colours().card },
      encoding: {
        x: { field: "low", type: "quantitative", scale: { type: "log" }, title: words("divergence") }, x2: { field: "high" },
        y: { field: "share", type: "quantitative", title: words("share"), axis: { format: "%" } }, y2: { datum: 0 },
        tooltip: [{ field: "range", title: words("divergence") }, { field: "shown", title: words("share") }],
      },
    };
  }

  function confidenceChart(row) {
    const values = row.spread.buckets.filter((bucket) => bucket.mean > 0).map((bucket) => ({ ...bucket, range: `${bucket.low} … ${bucket.high}`, mean_text: bucket.mean.toPrecision(3), same: bucket.same_top_pct.toPrecision(3) }));
    return {
      data: { values }, width: "container", height: 220,
      mark: { type: "line", point: { size: 70, filled: true } },
      encoding: {
        x: { field: "range", type: "ordinal", sort: values.map((value) => value.range), title: words("sure"), axis: { labelAngle: -30 } },
        y: { field: "mean", type: "quantitative", scale: { type: "log" }, title: words("mean_kld") },
        tooltip: [{ field: "range", title: words("sure") }, { field: "mean_text", title: words("mean_kld") }, { field: "tokens", title: words("tokens") }, { field: "same", title: words("same") }],
      },
    };
  }

  async function drawSpread(place) {
    const rows = data.rows.filter((row) => row.spread && !row.reference);
    if (!rows.length) return;
    const marks = [...quantile.keys()].filter((name) => rows.some((row) => row.spread.marks[name] > 0));
    await chart(place, words("quantiles", { names: marks.join(", ") }), quantileChart(rows), true);
    const front = state.score ? rows.filter((row) => data.front[state.score.key].includes(row.id)) : rows;
    const row = by.get(state.spread) ?? front[Math.floor(front.length / 2)] ?? rows[0];
    const selector = make("select", { id: "spread" });
    for (const each of rows) selector.append(make("option", { value: each.id, ...(each === row && { selected: "" }) }, named(each)));
    selector.onchange = () => { state.spread = selector.value; drawCharts().then(() => $("spread").focus()); };
    await chart(place, words("spread"), { ...histogram(row), tools: [make("p", {}, make("label", {}, `${words("of_level")} `, selector))] }, false);
    await chart(place, `${words("confidence")}: ${named(row)}`, confidenceChart(row), false);
  }

  async function chart(holder, title, spec, wide) {
    const box = make("div", { class: "chart" });
    const note = spec.params ? make("p", { class: "soft" }, words("click"), make("br"), words("front")) : "";
    holder.append(make("section", { class: wide ? "card wide" : "card" }, make("h2", {}, title), ...(spec.tools ?? []), box, note));
    const { tools, ...rest } = spec;
    const made = await vegaEmbed(box, { ...rest, autosize: { type: "fit", contains: "padding" }, description: title },
      { actions: false, renderer: "svg", config: settings(), mode: "vega-lite", tooltip: { theme: state.theme } });
    views.push(made.view);
    if (spec.params) made.view.addEventListener("click", (_, item) => { if (item && item.datum && item.datum.id) choose(item.datum.id); });
  }

  async function drawCharts() {
    for (const view of views.splice(0)) view.finalize();
    const place = $("charts");
    place.replaceChildren();
    place.hidden = !data.scores.length;
    if (state.score) {
      const selector = make("select", { id: "across" });
      for (const each of ["size", "bpw"]) selector.append(make("option", { value: each, ...(each === state.across && { selected: "" }) }, words(each, { unit })));
      selector.onchange = () => { state.across = selector.value; drawCharts().then(() => $("across").focus()); };
      const spec = { ...qualityChart(state.score), tools: [make("p", {}, make("label", {}, `${words("across")} `, selector))] };
      await chart(place, words("quality", { score: state.score.label }), spec, true);
    }
    await drawSpread(place);
    const units = new Set(speeds.map((score) => score.unit));
    for (const unit of units) {
      await chart(place, words("speed", { unit }), speedChart(unit, speeds.filter((score) => score.unit === unit)), units.size === 1);
    }
    document.body.dataset.drawn = String(views.length);
  }

  // -- the page --------------------------------------------------------------------------------

  function draw() {
    const root = document.documentElement;
    root.lang = state.language;
    root.dataset.theme = state.theme;
    for (const element of document.querySelectorAll("[data-word]")) element.textContent = words(element.dataset.word);
    for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", words(element.dataset.label));
    $("language").textContent = state.language === "en" ? "中文" : "English";
    $("language").lang = state.language === "en" ? "zh" : "en";
    drawPick();
    show();
    return drawCharts();
  }

  $("tools").hidden = false;
  $("filter").oninput = show;
  $("all").onclick = () => { $("filter").value = ""; if (state.chosen) choose(state.chosen); show(); };
  $("language").onclick = () => { state.language = state.language === "en" ? "zh" : "en"; draw(); };
  $("theme").onclick = () => { state.theme = state.theme === "dark" ? "light" : "dark"; draw(); };
  for (const table of tables) {
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const button = make("button", { type: "button" }, ...header.childNodes);
      button.onclick = () => sortBy(table, column, button);
      header.replaceChildren(button);
    });
  }
  for (const line of lines) {
    const header = line.cells[0];
    const button = make("button", { type: "button", "aria-pressed": "false" }, ...header.childNodes);
    button.onclick = () => choose(line.dataset.id);
    header.replaceChildren(button);
  }
  draw();
})();
