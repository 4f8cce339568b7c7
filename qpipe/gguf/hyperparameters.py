"""What the rules of a quantization name look at beside the tensor itself."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from qpipe.errors import CheckpointError, quoted
from qpipe.gguf import values

# Architectures whose models of so many layers llama.cpp calls 70B (src/models/*.cpp,
# load_arch_hparams); a llama is one if its attention is grouped besides.
_70B = {"llama": 80, "llama-embed": 80, "qwen2": 80, "deci": 80, "olmo": 80, "jais2": 68}


@dataclass(frozen=True)
class Hyperparameters:
    """Hyperparameters as llama.cpp reads them (src/llama-model.cpp, load_hparams).

    ``tied``: the embeddings are the output matrix too. ``layers`` counts those that predict
    further tokens (``nextn``) too. ``heads`` and ``kv_heads`` are the first layer's.
    """

    arch: str
    layers: int
    heads: int
    kv_heads: int
    experts: int = 0
    nextn: int = 0
    tied: bool = False

    @classmethod
    def of(cls, metadata: values.Metadata, names: Container[str]) -> Hyperparameters:
        """Read from a GGUF model's metadata and the names of its tensors.

        Raises `CheckpointError` for a field that is no number.
        """
        arch = str(values.decode(metadata["general.architecture"]))

        def number(key: str, default: int = 0) -> int:
            encoded = metadata.get(f"{arch}.{key}")
            value = default if encoded is None else values.decode(encoded, limit=1)
            if isinstance(value, list):
                value = value[0] if value else default
            if type(value) is not int:
                raise CheckpointError(
                    f"the GGUF file's metadata {arch}.{key} is {quoted(value)}, no number; "
                    "convert the model again"
                )
            return value

        heads = number("attention.head_count")
        return cls(
            arch,
            layers=number("block_count"),
            heads=heads,
            kv_heads=number("attention.head_count_kv", heads),
            experts=number("expert_count"),
            nextn=number("nextn_predict_layers"),
            tied="output.weight" not in names,
        )

    @property
    def heads_per_kv(self) -> int:
        """The number of heads that share keys and values (llama_hparams::n_gqa)."""
        return self.heads // self.kv_heads if self.kv_heads else 0

    @property
    def is_70b(self) -> bool:
        """True if llama.cpp takes it for a model of 70B parameters, whose values it spares."""
        if self.layers - self.nextn != _70B.get(self.arch):
            return False
        grouped = self.heads != self.kv_heads and self.experts != 8
        return grouped or not self.arch.startswith("llama")
