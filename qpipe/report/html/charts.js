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
  const room = document.querySelector("main").clientWidth - 60;
  const columns = Math.max(1, Math.min(5, Math.floor(room / 170)));
  const axis = { labelFontSize: 12, titleFontSize: 12, labelColor: colour.soft, titleColor: colour.soft, gridColor: colour.rule, domainColor: colour.soft, tickColor: colour.soft, titleFontWeight: 500 };
  return {
    background: "transparent", font: "system-ui, sans-serif", axis,
    legend: { labelFontSize: 12, titleFontSize: 12, labelColor: colour.ink, titleColor: colour.soft, orient: "bottom", columns, labelLimit: room / columns - 40 },
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
  if (rows.length > 60) return;
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
  const x = { field: "x", type: "quantitative", title: state.across === "size" ? words("size", { unit }) : words("bpw"), scale: wide ? { type: "log" } : { zero: false }, axis: { tickCount: innerWidth < 600 ? 4 : 10 } };
  const y = { field: "y", type: "quantitative", title: `${score.label} (${words(score.better)})`, scale: score.log ? { type: "log" } : { zero: false } };
  // A legend of many models would be longer than the chart: it names the first, and tooltips all.
  const values = [...new Set(rows.map((row) => row[group]))].slice(0, 12);
  const grouped = { field: group, type: "nominal", title: words(group), legend: { values } };
  const faded = { condition: { test: "chosen === null || chosen === datum.id", value: 1 }, value: 0.2 };
  const bars = rows.some((row) => row.low !== null);
  const layers = [
    { transform: [{ filter: "datum.front" }], mark: { type: "line", color: colour.front, strokeDash: [4, 3], opacity: 0.8, aria: false }, encoding: { x, y, ...(group === "model" && { detail: { field: "model" } }) } },
    ...(bars ? [{ transform: [{ filter: "datum.low !== null" }], mark: { type: "rule", aria: false, color: colour.soft }, encoding: { x, y: { ...y, field: "low" }, y2: { field: "high" }, opacity: faded } }] : []),
    ...(rows.some((row) => row.labelled) ? [{ mark: { type: "text", align: "left", dx: 7, dy: -7, fontSize: 11, limit: 130, color: colour.soft, aria: false }, transform: [{ filter: "datum.labelled" }], encoding: { x, y, text: { field: "name" }, opacity: faded } }] : []),
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
  return { data: { values: rows }, width: "container", height: innerWidth < 600 ? 240 : 320, layer: layers, params: [{ name: "chosen", value: state.chosen }] };
}

function speedChart(unit, scores) {
  const rows = scores.flatMap((score) => charted().filter((row) => row.values[score.key]).map((row) => ({
    id: row.id, name: lineName(row), score: score.label, x: row.values[score.key].value, text: row.values[score.key].text,
  })));
  return {
    data: { values: rows }, width: "container", height: 60 + new Set(rows.map((row) => row.name)).size * (charted().length > 40 ? 12 : 12 + 10 * scores.length),
    mark: { type: "bar", cornerRadiusEnd: 2, cursor: "pointer" },
    encoding: {
      y: { field: "name", type: "nominal", sort: charted().map(lineName), title: null, axis: { labelLimit: innerWidth < 600 ? 110 : 220 } },
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
  const values = rows.flatMap((row) => names.filter((name) => row.spread.marks[name] > 0).map((name) => ({ id: row.id, name: lineName(row), mark: name, x: row.spread.marks[name], text: row.spread.marks[name].toPrecision(3) })));
  const y = { field: "name", type: "nominal", sort: rows.map(lineName), title: null, axis: { labelLimit: innerWidth < 600 ? 110 : 220 } };
  const x = { field: "x", type: "quantitative", scale: { type: "log" }, axis: { tickCount: 6 }, title: words("divergence") };
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
      x: { field: "low", type: "quantitative", scale: { type: "log" }, axis: { tickCount: 6 }, title: words("divergence") }, x2: { field: "high" },
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

// Of many models, charts with a line a level show those of the one that is picked from.
const many = () => data.models.length > 1 && data.rows.length > 40;
const charted = () => (many() ? data.rows.filter((row) => row.model === state.model) : data.rows);
const lineName = (row) => (many() ? row.name : named(row));
const whose = (title) => (many() ? `${title}: ${state.model}` : title);

async function drawSpread(place) {
  const turn = state.turn;
  const rows = charted().filter((row) => row.spread && !row.reference);
  if (!rows.length) return;
  const marks = [...quantile.keys()].filter((name) => rows.some((row) => row.spread.marks[name] > 0));
  await chart(place, whose(words("quantiles", { names: marks.join(", ") })), quantileChart(rows), true);
  if (turn !== state.turn) return;
  const front = state.score ? rows.filter((row) => data.front[state.score.key].includes(row.id)) : rows;
  const row = rows.find((each) => each.id === state.spread) ?? front[Math.floor(front.length / 2)] ?? rows[0];
  const selector = options("spread", rows.map((each) => [each.id, named(each)]), row.id,
    (value) => { state.spread = value; drawCharts().then(() => $("spread").focus()); });
  await chart(place, words("spread"), { ...histogram(row), tools: [make("p", {}, make("label", {}, `${words("of_level")} `, selector))] }, false);
  if (turn !== state.turn) return;
  await chart(place, `${words("confidence")}: ${named(row)}`, confidenceChart(row), false);
}

async function chart(holder, title, spec, wide) {
  const turn = state.turn;
  const box = make("div", { class: "chart" });
  const note = spec.params ? make("p", { class: "soft" }, words("click"), make("br"), words("front")) : "";
  holder.append(make("section", { class: wide ? "card wide" : "card" }, make("h2", {}, title), ...(spec.tools ?? []), box, note));
  const { tools, ...rest } = spec;
  const made = await vegaEmbed(box, { ...rest, autosize: { type: "fit-x", contains: "padding" }, description: title },
    { actions: false, renderer: "svg", config: settings(), mode: "vega-lite", tooltip: { theme: state.theme } });
  if (turn !== state.turn) return made.view.finalize();
  views.push(made.view);
  if (spec.params) made.view.addEventListener("click", (_, item) => { if (item?.datum?.id) choose(item.datum.id); });
}

async function drawSize(place) {
  const score = state.up ?? state.score ?? data.scores[0];
  const redraw = (id, change) => (value) => { change(value); return drawCharts().then(() => $(id).focus()); };
  const across = options("across", ["size", "bpw"].map((each) => [each, words(each, { unit })]), state.across,
    redraw("across", (value) => { state.across = value; }));
  const up = options("up", data.scores.map((each) => [each.key, each.label]), score.key,
    redraw("up", (value) => { state.up = data.scores.find((each) => each.key === value); }));
  const tools = make("p", { class: "tools" }, make("label", {}, `${words("across")} `, across), make("label", {}, `${words("up")} `, up));
  await chart(place, words("quality", { score: score.label }), { ...qualityChart(score), tools: [tools] }, true);
}

async function drawSpeeds(place) {
  const turn = state.turn;
  const units = new Set(speeds.map((score) => score.unit));
  for (const each of units) {
    await chart(place, whose(words("speed", { unit: each })), speedChart(each, speeds.filter((score) => score.unit === each)), units.size === 1);
    if (turn !== state.turn) return;
  }
}

// A drawing that was begun before the last one ends where it is.
async function drawCharts() {
  const turn = state.turn = (state.turn ?? 0) + 1;
  for (const view of views.splice(0)) view.finalize();
  const place = $("charts");
  place.style.minHeight = `${place.offsetHeight}px`;
  place.replaceChildren();
  place.hidden = !data.scores.length;
  const steps = data.scores.length ? [drawSize, drawSpread, drawSpeeds] : [];
  for (const step of steps) {
    await new Promise((resolve) => setTimeout(resolve)); // what is drawn already is shown first
    if (turn !== state.turn) return;
    await step(place);
    if (turn !== state.turn) return;
  }
  place.style.minHeight = "";
  document.body.dataset.drawn = String(views.length);
}
