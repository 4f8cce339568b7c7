"""The plotting library of the page: Vega-Lite, whose script is put into the file.

vl-convert carries Vega, Vega-Lite and vega-embed (BSD-3-Clause) for use without a network. To join
them takes it seconds, so the joined script is kept in the user's cache.
"""

from __future__ import annotations

import os
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path


def script() -> str:
    """Return the script, which defines ``vegaEmbed``."""
    import vl_convert

    path = cache() / "vega" / f"{version('vl-convert-python')}.js"
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8")
    joined: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # Within a script element, only its end tag and a comment's beginning mean anything to HTML.
    assert "</script" not in joined and "<!--" not in joined
    with suppress(OSError):  # a home that cannot be written to costs time, and nothing else
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(joined, encoding="utf-8")
        part.replace(path)
    return joined


def credit() -> str:
    """Name the library, its version and its licence."""
    import vl_convert

    return f"Charts: Vega {vl_convert.get_vega_version()}, Vega-Lite, vega-embed (BSD-3-Clause)."


def cache() -> Path:
    """Return the user's folder for what can be made again: below XDG_CACHE_HOME or ``~/.cache``."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "qpipe"
