"""The plotting library of the page: Vega-Lite, whose script is put into the file.

vl-convert carries Vega, Vega-Lite and vega-embed (BSD-3-Clause) for use without a network. To join
them takes it seconds, so the joined script is kept in the user's cache.
"""

from __future__ import annotations

import importlib.util
import os
from contextlib import suppress
from pathlib import Path

from qpipe.errors import EngineMissingError

_CREDIT = "Charts: Vega {vega}, Vega-Lite, vega-embed (BSD-3-Clause)."


def script() -> str:
    """Return the script, which defines ``vegaEmbed`` and begins with a comment of its `credit`.

    Raises EngineMissingError without vl-convert.
    """
    path = cache() / "vega" / f"{_build()}.js"
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8")
    import vl_convert

    credit = _CREDIT.format(vega=vl_convert.get_vega_version())
    joined = f"/*! {credit} */\n{vl_convert.javascript_bundle('window.vegaEmbed = vegaEmbed;')}"
    # Within a script element, only its end tag and a comment's beginning mean anything to HTML.
    assert "</script" not in joined and "<!--" not in joined
    with suppress(OSError):  # a home that cannot be written to costs time, and nothing else
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(joined, encoding="utf-8")
        part.replace(path)
    return joined


def credit(script: str) -> str:
    """Return the library's name, version and licence, as the script names them."""
    return script.partition("\n")[0].removeprefix("/*! ").removesuffix(" */")


def cache() -> Path:
    """Return the user's folder for what can be made again: below XDG_CACHE_HOME or ``~/.cache``."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "qpipe"


def _build() -> str:
    """The installed vl-convert, told by its folder: importing it would take a while."""
    spec = importlib.util.find_spec("vl_convert")
    if spec is None or spec.origin is None:
        raise EngineMissingError(
            "the HTML report needs vl-convert: pip install 'vl-convert-python>=1.9,<2'"
        )
    site = Path(spec.origin).parents[1]
    return "-".join(sorted(path.stem for path in site.glob("vl_convert_python-*.dist-info")))
