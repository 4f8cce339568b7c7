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
  drawTensors();
  drawSensitivity();
  drawEdges();
  return drawCharts();
}

$("tools").hidden = false;
$("filter").oninput = show;
$("all").onclick = () => { $("filter").value = ""; if (state.chosen) choose(state.chosen); show(); };
$("language").onclick = () => { state.language = state.language === "en" ? "zh" : "en"; draw(); };
$("theme").onclick = () => { state.theme = state.theme === "dark" ? "light" : "dark"; draw(); };
load();
openTables();
draw();
if (document.body.dataset.version) watch();
