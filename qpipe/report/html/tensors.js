// Types of one level's matrices: a line for each kind, a column for each layer. On a narrow screen
// the other way round, so that layers go on downwards.

// Bits up to which a tone of page.css stands for a type: from few, warm, to many, cold.
const tones = [2, 3, 4, 5, 6, 8, 64];
const bitsOf = (type) => Number(/\d+/.exec(type)?.[0] ?? 32);
const percent = (error) => `${(100 * error).toPrecision(3)} %`;

function cellOf(level, kind, at) {
  const number = kind.types[at];
  if (number === null) return make("td", {});
  const letter = level.letters[number];
  const error = kind.errors[at];
  const text = [level.types[number], ...(error === null ? [] : [words("off", { value: percent(error) })])].join(", ");
  const place = level.layers[at] === null ? kind.name : `${kind.name}, ${words("layer")} ${level.layers[at]}`;
  const cell = make("td", { class: `tone${level.tones[number]}` }, make("span", { "aria-hidden": "true" }, letter), make("span", { class: "unseen" }, text));
  cell.dataset.about = `${place}: ${text}${kind.shape ? `, ${kind.shape}` : ""}`;
  return cell;
}

const meanError = (kind) => {
  const errors = kind.errors.filter((error) => error !== null);
  return errors.length ? percent(Math.sqrt(errors.reduce((sum, error) => sum + error * error, 0) / errors.length)) : "";
};

// A table of kinds and layers with a ``cell`` for each, and what a kind comes to in all, under a ``head``.
function picture(level, upright, cell, total) {
  const heads = level.layers.map((layer) => (layer === null ? "–" : String(layer)));
  const known = level.kinds.some((kind) => total.of(kind));
  const head = (text, scope) => make("th", { scope }, make("span", {}, text));
  if (upright) {
    const rows = heads.map((layer, at) => make("tr", {}, head(layer, "row"), ...level.kinds.map((kind) => cell(kind, at))));
    const means = make("tr", { class: "means" }, head(total.head, "row"), ...level.kinds.map((kind) => make("td", {}, total.of(kind))));
    return make("table", { class: "tensors upright" }, make("thead", {}, make("tr", {}, head(words("layer"), "col"), ...level.kinds.map((kind) => head(kind.name, "col")))), make("tbody", {}, ...(known ? [means] : []), ...rows));
  }
  const rows = level.kinds.map((kind) => make("tr", {}, head(kind.name, "row"), ...level.layers.map((_, at) => cell(kind, at)), ...(known ? [make("td", { class: "means" }, total.of(kind))] : [])));
  return make("table", { class: level.layers.length > 45 ? "tensors dense" : "tensors" }, make("thead", {}, make("tr", {}, head(words("kind_and_layer"), "col"), ...heads.map((layer) => head(layer, "col")), ...(known ? [head(total.head, "col")] : []))), make("tbody", {}, ...rows));
}

// Letters by bits, so that one file's are in the order of what they keep.
function lettered(level) {
  const order = [...level.types.keys()].sort((a, b) => bitsOf(level.types[a]) - bitsOf(level.types[b]) || level.types[a].localeCompare(level.types[b]));
  const letters = [], tone = [];
  order.forEach((number, rank) => {
    letters[number] = String.fromCharCode(65 + rank);
    tone[number] = tones.findIndex((most) => bitsOf(level.types[number]) <= most);
  });
  return { ...level, letters, tones: tone, order };
}

function drawTensors() {
  const place = $("tensors");
  const rows = data.rows.filter((row) => row.tensors);
  place.hidden = !rows.length;
  if (!rows.length) return;
  const mixed = rows.reduce((a, b) => (b.tensors.types.length > a.tensors.types.length ? b : a));
  const row = rows.find((each) => named(each) === state.level) ?? rows.find((each) => each.id === state.chosen) ?? mixed;
  const level = lettered(row.tensors);
  const selector = options("level", rows.map((each) => [named(each), named(each)]), named(row),
    (value) => { state.level = value; drawTensors(); $("level").focus(); });
  const legend = make("p", { class: "legend" }, ...level.order.map((number) => make("span", {}, make("span", { class: `swatch tone${level.tones[number]}`, "aria-hidden": "true" }, level.letters[number]), ` ${level.types[number]} `)));
  const about = make("output", { class: "soft", "aria-live": "off" }, words("point"));
  const shown = make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": named(row) }, picture(level, innerWidth < 600, (kind, at) => cellOf(level, kind, at), { head: words("mean_error"), of: meanError }));
  const tell = (event) => { const text = event.target.closest?.("td")?.dataset.about; if (text) about.textContent = text; };
  shown.addEventListener("pointerover", tell);
  shown.addEventListener("click", tell);
  const missing = data.rows.filter((each) => !each.tensors && !each.reference && each.size !== null).length;
  place.replaceChildren(
    make("h2", { id: "tensors-title" }, words("tensors")), make("p", {}, make("label", {}, `${words("of_level")} `, selector)), legend, shown, about,
    ...(missing ? [make("p", { class: "soft" }, words("no_tensors", { count: missing }))] : []),
  );
}
