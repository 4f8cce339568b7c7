// The lines between the boxes of a run's graph, where these stand beside each other.

function drawEdges() {
  for (const graph of document.querySelectorAll(".graph")) {
    graph.querySelector("svg")?.remove();
    if (getComputedStyle(graph).display !== "grid") continue;
    const box = graph.getBoundingClientRect();
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("aria-hidden", "true");
    svg.setAttribute("width", graph.scrollWidth);
    svg.setAttribute("height", graph.scrollHeight);
    const boxes = new Map([...graph.querySelectorAll("[data-group]")].map((each) => [each.dataset.group, each.getBoundingClientRect()]));
    for (const each of graph.querySelectorAll("[data-from]")) {
      const to = boxes.get(each.dataset.group);
      for (const from of each.dataset.from.split(" ").map((name) => boxes.get(name))) {
        if (!from || from.right > to.left) continue;
        const [x, y] = [from.right - box.left, from.top + from.height / 2 - box.top];
        const [u, v] = [to.left - box.left, to.top + to.height / 2 - box.top];
        const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
        path.setAttribute("d", `M${x},${y} C${x + 20},${y} ${u - 20},${v} ${u},${v}`);
        svg.append(path);
      }
    }
    graph.prepend(svg);
  }
}
