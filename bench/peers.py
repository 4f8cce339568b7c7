"""The same graph as a Snakemake and as a DVC project: one trivial shell command for each node."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict


class GraphNode(TypedDict):
    """A node of `qpipe graph --json`, as far as the others need it."""

    id: str
    name: str
    inputs: Mapping[str, str]


def short(node: str) -> str:
    """A node's name in the other tools."""
    return f"n{node[:12]}"


def _inputs(node: GraphNode) -> list[str]:
    return [f"{short(source)}.txt" for source in dict.fromkeys(node["inputs"].values())]


def _command(node: GraphNode) -> str:
    return f"cat {' '.join(_inputs(node)) or '/dev/null'} > {short(node['id'])}.txt"


def write_snakefile(folder: Path, nodes: Sequence[GraphNode]) -> None:
    """A Snakefile with a rule a node."""
    outputs = ", ".join(json.dumps(f"{short(node['id'])}.txt") for node in nodes)
    lines = ["rule all:", f"    input: {outputs}", ""]
    for node in nodes:
        lines.append(f"rule {short(node['id'])}:")
        if inputs := _inputs(node):
            lines.append(f"    input: {', '.join(map(json.dumps, inputs))}")
        lines.append(f"    output: {json.dumps(short(node['id']) + '.txt')}")
        lines += [f"    shell: {json.dumps(_command(node))}", ""]
    (folder / "Snakefile").write_text("\n".join(lines))


def write_dvc(folder: Path, nodes: Sequence[GraphNode]) -> None:
    """A dvc.yaml (JSON is YAML) with a stage a node."""
    stages = {
        short(node["id"]): {
            "cmd": _command(node),
            "deps": _inputs(node),
            "outs": [f"{short(node['id'])}.txt"],
        }
        for node in nodes
    }
    (folder / "dvc.yaml").write_text(json.dumps({"stages": stages}, indent=1))
