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
  const models = options("model", data.models.map((each) => [each, each]), state.model,
    (value) => { state.model = value; drawPick(); if (many()) drawCharts(); $("model").focus(); });
  const chosen = data.models.length > 1 ? make("label", {}, `${words("model")} `, models, " ") : "";
  const selector = options("score", quality.map((each) => [each.key, each.label]), score.key,
    (value) => { state.score = state.judged = quality.find((each) => each.key === value); state.up = undefined; draw(); $("score").focus(); });
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
