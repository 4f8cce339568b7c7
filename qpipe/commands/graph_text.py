"""A graph drawn as text, for Graphviz (dot) and for Mermaid."""

from __future__ import annotations

import json

from qpipe.core.graph import Graph
from qpipe.recipe.draft import describe


def text(graph: Graph) -> list[str]:
    """Return a line for each node, and below it one of its inputs."""
    lines = []
    for node in graph.values():
        inputs = ", ".join(f"{role} ← {graph[source].name}" for role, source in node.inputs.items())
        lines.append(f"{node.name}  ({node.stage}: {describe(node.params)})")
        if inputs:
            lines.append(f"    {inputs}")
    return lines


def dot(graph: Graph) -> list[str]:
    """Return a digraph for Graphviz."""
    lines = ["digraph qpipe {", "  rankdir=LR;", "  node [shape=box];"]
    for node in graph.values():
        lines.append(f'  "{node.id[:12]}" [label={json.dumps(node.name, ensure_ascii=False)}];')
    for node in graph.values():
        for role, source in node.inputs.items():
            lines.append(f'  "{source[:12]}" -> "{node.id[:12]}" [label="{role}"];')
    return [*lines, "}"]


def mermaid(graph: Graph) -> list[str]:
    """Return a flowchart for Mermaid."""
    lines = ["flowchart LR"]
    for node in graph.values():
        label = node.name.replace('"', "#quot;")
        lines.append(f'  n{node.id[:12]}["{label}"]')
    for node in graph.values():
        for role, source in node.inputs.items():
            lines.append(f"  n{source[:12]} -->|{role}| n{node.id[:12]}")
    return lines


FORMATS = {"text": text, "dot": dot, "mermaid": mermaid}
