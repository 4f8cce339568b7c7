"""Numbers of a GGUF model's metadata, as llama.cpp reads them."""

from __future__ import annotations

from qpipe.errors import CheckpointError, quoted
from qpipe.gguf import values


class MetadataNumbers:
    """The integers below ``ARCH.`` in ``metadata``.

    Raises CheckpointError for one that is missing with no default, or no number.
    """

    def __init__(self, metadata: values.Metadata) -> None:
        if "general.architecture" not in metadata:
            raise CheckpointError("the metadata has no general.architecture: it is no model's")
        self._metadata = metadata
        self.arch = str(values.decode(metadata["general.architecture"]))

    def __contains__(self, key: str) -> bool:
        return f"{self.arch}.{key}" in self._metadata

    def number(self, key: str, default: int | None = None) -> int:
        """One integer; of a list the largest."""
        if key not in self and default is not None:
            return default
        return max(self._list(key), default=0)

    def each(self, key: str, layers: int, default: int | None = None) -> list[int]:
        """One integer for each layer."""
        if key not in self and default is not None:
            return [default] * layers
        listed = self._list(key)
        if len(listed) == 1:
            return listed * layers
        if len(listed) < layers:
            raise CheckpointError(
                f"{self.arch}.{key} has {len(listed)} values, and the model {layers} layers: "
                "convert the model again"
            )
        return listed[:layers]

    def _list(self, key: str) -> list[int]:
        encoded = self._metadata.get(f"{self.arch}.{key}")
        if encoded is None:
            raise CheckpointError(
                f"the metadata has no {self.arch}.{key}, without which memory is not known; "
                "convert the model again"
            )
        value = values.decode(encoded)
        listed = value if isinstance(value, list) else [value]
        if not all(isinstance(item, int) and 0 <= item < 1 << 31 for item in listed):
            raise CheckpointError(
                f"{self.arch}.{key} is {quoted(value)}, no whole number; convert the model again"
            )
        return [int(item) for item in listed]
