"""The command that installs an extra of qpipe, for messages about what is missing."""

from __future__ import annotations

import json
import shlex
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

_SELF = "qpipe"


def command(extra: str) -> str:
    """From the folder that qpipe was installed from if it was (PEP 610), else by its name."""
    try:
        own = metadata.distribution(_SELF)
    except metadata.PackageNotFoundError:
        return f"pip install -e '.[{extra}]' -c constraints.txt (in qpipe's folder)"
    origin = json.loads(own.read_text("direct_url.json") or "{}")
    if "dir_info" not in origin:
        return f"pip install '{_SELF}[{extra}]=={own.version}'"
    folder = Path(unquote(urlsplit(origin["url"]).path))
    editable = "-e " if origin["dir_info"].get("editable") else ""
    constraints = folder / "constraints.txt"
    pins = f" -c {shlex.quote(str(constraints))}" if constraints.is_file() else ""
    return f"pip install {editable}{shlex.quote(f'{folder}[{extra}]')}{pins}"
