// A page that a server made of runs that go on: it asks how far they are, and takes what has changed.

// Milliseconds between two questions, and for which somebody who types is left alone.
const pause = 1000, patience = 5000;

function tell(now) {
  const status = now.status.split(", ").map((each) => data.words[state.language][each] ?? each).join(", ");
  const text = now.status === "running" ? words("live", { ...now, status }) : words("ended", { status });
  if ($("live").textContent !== text) $("live").textContent = text;
  $("live").hidden = false;
}

// A function that gives the focus back to what stands in the same place afterwards.
function keepFocus() {
  const active = document.activeElement;
  const table = active?.closest("#tables table");
  const [id, name, text] = [active?.id, table && tableName(table), active?.textContent];
  return () => {
    if (id) return $(id)?.focus({ preventScroll: true });
    if (!name) return;
    const same = tables.find((each) => tableName(each) === name);
    [...same?.querySelectorAll("th button") ?? []].find((each) => each.textContent === text)?.focus({ preventScroll: true });
  };
}

async function takePart() {
  const answer = await fetch("part");
  if (!answer.ok) throw new Error(await answer.text());
  const part = new DOMParser().parseFromString(await answer.text(), "text/html");
  const refocus = keepFocus();
  const opened = [...document.querySelectorAll("#runs details")].map((each) => each.open);
  const aside = [...document.querySelectorAll("#tables .scroll")].map((each) => each.scrollLeft);
  for (const id of ["subtitle", "tables", "notes", "runs"]) $(id).replaceChildren(...part.getElementById(id).childNodes);
  document.querySelectorAll("#runs details").forEach((each, number) => { each.open = opened[number]; });
  $("data").textContent = part.getElementById("data").textContent;
  load();
  openTables();
  const drawn = draw();
  document.querySelectorAll("#tables .scroll").forEach((each, number) => { each.scrollLeft = aside[number] ?? 0; });
  refocus();
  await drawn;
  return part.body.dataset.version;
}

function watch() {
  let version = document.body.dataset.version, touched = -patience;
  const fields = "#pick input, select";
  for (const event of ["input", "pointerdown", "keydown"]) {
    addEventListener(event, (of) => { if (of.target.matches?.(fields)) touched = performance.now(); });
  }
  const ask = async () => {
    let now = {};
    try {
      now = await (await fetch("state")).json();
      const busy = document.activeElement?.matches(fields) && performance.now() - touched < patience;
      if (now.version !== version && !busy) version = await takePart();
      tell(now);
    } catch {
      $("live").textContent = words("lost");
      $("live").hidden = false;
    }
    if (now.status === "running" || now.version !== version) setTimeout(ask, pause);
  };
  ask();
}
