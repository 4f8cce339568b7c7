let data, by, quality, speeds, unit, scale;
const state = {
  language: navigator.language.startsWith("zh") ? "zh" : "en",
  theme: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light",
  across: "size", chosen: null, bounds: {}, sorted: {},
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

// Reads the page's data; again when the page is of a run that goes on.
function load() {
  const chosen = by?.get(state.chosen);
  data = JSON.parse($("data").textContent);
  by = new Map(data.rows.map((row) => [row.id, row]));
  quality = data.scores.filter((score) => score.role === "quality");
  speeds = data.scores.filter((score) => score.role === "speed");
  const sizes = data.rows.map((row) => row.size).filter((size) => size !== null);
  [unit, scale] = Math.max(...sizes, 0) < 1000 * 2 ** 20 ? ["MiB", 2 ** 20] : ["GiB", 2 ** 30];
  state.score = again(state.judged, quality) ?? quality.find((score) => score.log) ?? quality[0];
  state.up = again(state.up, data.scores);
  if (!data.models.includes(state.model)) state.model = data.models[0];
  state.chosen = chosen ? data.rows.find((row) => row.model === chosen.model && row.name === chosen.name)?.id ?? null : null;
}

const again = (score, scores) => scores.find((each) => score && each.key === score.key);

const shortSize = (size) => `${(size / scale).toPrecision(3)} ${unit}`;

// Where there are several models, a row's name alone says too little.
const named = (row) => (data.models.length > 1 ? `${row.name} · ${row.model}` : row.name);

function options(id, values, chosen, onchange) {
  const selector = make("select", { id });
  for (const [value, text] of values) selector.append(make("option", { value, ...(value === chosen && { selected: "" }) }, text));
  selector.onchange = () => onchange(selector.value);
  return selector;
}
