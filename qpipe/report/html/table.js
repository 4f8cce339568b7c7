let tables, lines;

// Makes buttons of headings and names, and sorts as was chosen before.
function openTables() {
  tables = [...document.querySelectorAll("#table table")];
  lines = [...document.querySelectorAll("#table tbody tr")];
  for (const table of tables) {
    [...table.tHead.rows[0].cells].forEach((header) => {
      const button = make("button", { type: "button" }, ...header.childNodes);
      button.onclick = () => sortBy(table, header);
      header.replaceChildren(button);
    });
    const { heading, up } = state.sorted[tableName(table)] ?? {};
    const header = [...table.tHead.rows[0].cells].find((cell) => headingOf(cell) === heading);
    if (header) sort(table, header, up);
  }
  for (const line of lines) {
    const header = line.cells[0];
    const button = make("button", { type: "button", "aria-pressed": "false" }, ...header.childNodes);
    button.onclick = () => choose(line.dataset.id);
    header.replaceChildren(button);
  }
}

// The same in every language.
const headingOf = (header) => header.querySelector("[data-word]")?.dataset.word ?? header.textContent;

const tableName = (table) => table.parentElement.getAttribute("aria-label");

function sortBy(table, header) {
  const up = header.getAttribute("aria-sort") !== "ascending";
  state.sorted[tableName(table)] = { heading: headingOf(header), up };
  sort(table, header, up);
}

function sort(table, header, up) {
  const column = header.cellIndex;
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
