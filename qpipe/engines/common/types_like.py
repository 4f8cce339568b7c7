"""`quantize.like`: a GGUF file's types in the place of its path, before a recipe is checked."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import WithJsonSchema

from qpipe.errors import CheckpointError
from qpipe.support.files import expanded, is_file

LIKE, DIGEST, TYPE = "like", "like_digest", "type"

# What recipes/quantize/gguf.yaml has, so nobody asked for it.
DEFAULT_TYPE = "Q8_0"

LikeTypes = Annotated[
    dict[str, Any], WithJsonSchema({"type": "string", "title": "a GGUF file on this machine"})
]
"""A file's name and types (`qpipe.gguf.like.LikeFile.to_json`); a path, where a recipe names it."""


def resolved(params: Any) -> Any:
    """Parameters with the types of the file that they name as ``like``, the digest of those, and
    its quantization as ``type``.

    Raises ValueError for a file that is not there or cannot be read, and for settings that have no
    effect beside it.
    """
    if not isinstance(params, dict) or not isinstance(params.get(LIKE), str):
        return params
    from qpipe.gguf.ftypes import FILE_TYPES
    from qpipe.gguf.like import LikeFile

    path = expanded(params[LIKE])
    if not is_file(path):
        raise ValueError(f"like: {params[LIKE]}: no such file; give a GGUF file on this machine")
    if params.get("pure"):
        raise ValueError("pure has no effect beside like, which says the type of each tensor")
    try:
        file = LikeFile.read(path)
    except CheckpointError as error:
        raise ValueError(f"like: {error}") from None
    kind = params.get(TYPE)
    if file.file_type in FILE_TYPES:
        if isinstance(kind, str) and kind.upper() not in (DEFAULT_TYPE, file.file_type):
            raise ValueError(
                f"type is {kind}, and the file that like names is {file.file_type}: leave type out"
            )
        kind = file.file_type
    return {**params, LIKE: file.to_json(), DIGEST: file.digest, TYPE: kind}
