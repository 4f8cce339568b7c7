// What the model loses with each matrix in one type: a line for each kind, a column for each layer,
// warmer where more is lost. Steps of the scale are equal in logarithms.

const steps = 7;
const nats = (kld) => kld.toPrecision(3).replace(/\.?0+(e|$)/, "$1");

// From what is lost most, warm, to what is lost least.
function scaleOf(values) {
  const positive = values.filter((kld) => kld > 0);
  const [low, high] = [Math.log(Math.min(...positive)), Math.log(Math.max(...positive))];
  const height = (high - low) / steps || 1;
  return { toneOf: (kld) => (kld > 0 ? Math.min(steps - 1, Math.max(0, Math.floor((high - Math.log(kld)) / height))) : steps - 1), least: (tone) => (tone === steps - 1 ? Math.exp(low) : Math.exp(high - (tone + 1) * height)) };
}

function lossCell(grid, scale, kind, at) {
  const kld = kind.losses[grid.type][at];
  if (kld === null) return make("td", {});
  const tone = scale.toneOf(kld), text = words("kld_of", { value: nats(kld) });
  const cell = make("td", { class: `tone${tone}` }, make("span", { "aria-hidden": "true" }, String(steps - tone)), make("span", { class: "unseen" }, text));
  const place = grid.layers[at] === null ? kind.name : `${kind.name}, ${words("layer")} ${grid.layers[at]}`;
  cell.dataset.about = `${place}, ${grid.types[grid.type]}: ${text}`;
  return cell;
}

const sumOf = (grid, kind) => nats(kind.losses[grid.type].reduce((sum, kld) => sum + (kld ?? 0), 0));

function hurtMost(grid) {
  const every = grid.kinds.flatMap((kind) => kind.losses[grid.type].map((kld, at) => ({ kld, name: grid.layers[at] === null ? kind.name : `${kind.name}, ${words("layer")} ${grid.layers[at]}` })).filter((each) => each.kld > 0));
  return every.sort((a, b) => b.kld - a.kld).slice(0, 5).map((each) => `${each.name} (${nats(each.kld)})`).join("; ");
}

function drawSensitivity() {
  const place = $("sensitivity");
  place.hidden = !data.sensitivity.length;
  if (place.hidden) return;
  const number = Math.max(0, data.sensitivity.findIndex((each) => each.name === state.measured));
  const of = data.sensitivity[number];
  const type = of.types.indexOf(state.swapped);
  const grid = { ...of, type: type < 0 ? of.first : type };
  const scale = scaleOf(grid.kinds.flatMap((kind) => kind.losses[grid.type].filter((kld) => kld !== null)));
  const again = (id, field) => (value) => { state[field] = value; drawSensitivity(); $(id).focus(); };
  const models = options("measured", data.sensitivity.map((each) => [each.name, each.name]), of.name, again("measured", "measured"));
  const types = options("swapped", of.types.map((each) => [each, each]), of.types[grid.type], again("swapped", "swapped"));
  const legend = make("p", { class: "legend" }, ...Array.from({ length: steps }, (_, tone) => make("span", {}, make("span", { class: `swatch tone${tone}`, "aria-hidden": "true" }, String(steps - tone)), ` ≥ ${nats(scale.least(tone))} `)));
  const about = make("output", { class: "soft", "aria-live": "off" }, words("point_loss"));
  const table = picture(grid, innerWidth < 600, (kind, at) => lossCell(grid, scale, kind, at), { head: words("sum"), of: (kind) => sumOf(grid, kind) });
  const shown = make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": `${of.name}, ${of.types[grid.type]}` }, table);
  const tell = (event) => { const text = event.target.closest?.("td")?.dataset.about; if (text) about.textContent = text; };
  shown.addEventListener("pointerover", tell);
  shown.addEventListener("click", tell);
  place.replaceChildren(
    make("h2", { id: "sensitivity-title" }, words("sensitivity")),
    make("p", {}, ...(data.sensitivity.length > 1 ? [make("label", {}, `${words("of_level")} `, models), " "] : []), make("label", {}, `${words("in_type")} `, types)),
    make("p", {}, words("hurt_most", { names: hurtMost(grid) })), legend, shown, about,
  );
}
