"""How a run was made, as a section of the page: command, versions, machine, nodes and settings."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from qpipe.report import numbers
from qpipe.report.html.node_graph import drawn, groups
from qpipe.report.text import printable

if TYPE_CHECKING:
    from qpipe.report.runs import Summary


def section(run: Summary) -> str:
    """Return the section of one run."""
    facts = "\n".join(
        f'<dt data-word="{name}">{name}</dt><dd>{_text(value)}</dd>' for name, value in _facts(run)
    )
    nodes = "\n".join(map(_node, run.nodes))
    settings = {node["name"]: node["params"] for node in run.nodes if node["params"]}
    total = sum(node["seconds"] or 0.0 for node in run.nodes if node["status"] == "ran")
    title = _text(run.run)
    return f"""<section>
<h2><span data-word="runs">How it was made</span>: {title}</h2>
<dl>
{facts}
</dl>
{drawn(groups(run.nodes, run.rows), run.run)}
<details>
<summary>{len(run.nodes)} <span data-word="nodes">nodes</span>, {numbers.duration(total)}</summary>
<div class="scroll" role="region" tabindex="0" aria-label="{title}">
<table><thead><tr><th scope="col" data-word="node">node</th>
<th scope="col" data-word="from">from</th><th scope="col" data-word="status">status</th>
<th scope="col" class="r" data-word="took">took</th></tr></thead><tbody>
{nodes}
</tbody></table>
</div>
</details>
{_settings(settings)}
</section>"""


def _settings(settings: Mapping[str, Any]) -> str:
    """The settings of each node; nothing for a run of an older qpipe, which kept none."""
    if not settings:
        return ""
    shown = json.dumps(settings, indent=1, ensure_ascii=False)
    return f"""<details>
<summary data-word="settings">Settings of each node</summary>
<pre tabindex="0">{_text(shown, lines=True)}</pre>
</details>"""


def _facts(run: Summary) -> Iterator[tuple[str, str]]:
    about = run.about
    if about["command"]:
        yield "command", " ".join(about["command"])
    if about["started"]:
        yield "began", time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(about["started"]))
    if about["status"]:
        yield "status", about["status"]
    if about["machine"]:
        yield "machine", ", ".join(map(str, about["machine"].values()))
    own = {name: [about[name]] for name in ("qpipe", "python") if about[name]}
    if tools := own | (about["tools"] or {}):
        yield "versions", ", ".join(f"{name} {', '.join(of)}" for name, of in tools.items())
    for source, commit in (about["lock"] or {}).items():
        yield "locked", f"{source} @ {commit}"


def _node(node: Mapping[str, Any]) -> str:
    inputs: Sequence[str] = list(dict.fromkeys(map(str, (node["inputs"] or {}).values())))
    took = "" if node["seconds"] is None else numbers.duration(node["seconds"])
    status = node["status"]
    return (
        f'<tr><th scope="row">{_text(node["name"])}</th><td>{_text(", ".join(inputs))}</td>'
        f'<td class="{status}">{status}</td><td class="r">{took}</td></tr>'
    )


def _text(words: str, *, lines: bool = False) -> str:
    return escape(printable(words, lines=lines))
