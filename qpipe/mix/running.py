"""What a model takes when it runs as a target says: by part, and the room that weights have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from qpipe.errors import RecipeError
from qpipe.memory import Geometry, MemoryParts, RunSetting, Weights, placement
from qpipe.memory.estimate import of_geometry
from qpipe.mix.target import MixTarget
from qpipe.runtimes.overheads import GPU_SHARE, Overhead, overheads

_HALF = {"llama.cpp": "f16", "vllm": "auto", "transformers": "f16", "exllama": "f16"}


@dataclass(frozen=True)
class Running:
    """A model of this ``geometry`` in a ``setting``; ``most`` are the bytes that it may take on
    ``device``."""

    geometry: Geometry
    setting: RunSetting
    device: str
    most: int

    @classmethod
    def of(cls, geometry: Geometry, target: MixTarget, *, runtime: str) -> Running:
        """The run that a target with ``memory`` means, in its runtime or else ``runtime``.

        Of a card vLLM takes nine tenths, as qpipe has it served. Raises RecipeError for a cache
        that the runtime has not.
        """
        assert target.memory is not None, target
        assert target.ctx is not None, target
        runtime = target.runtime or runtime
        device = target.device or ("gpu" if runtime in ("vllm", "exllama") else "cpu")
        kv = target.kv or _HALF[runtime]
        setting = RunSetting(
            runtime,
            context=target.ctx,
            sequences=target.batch or 1,
            kv_k=kv,
            kv_v=kv,
            layers_offloaded=-1 if device == "gpu" else 0,
        )
        share = GPU_SHARE if runtime == "vllm" else 1.0
        return cls(geometry, setting, device, int(target.memory * share))

    @cached_property
    def around(self) -> MemoryParts:
        """All but the weights, on the device."""
        return self.parts({})

    def parts(self, tensors: Mapping[str, int]) -> MemoryParts:
        """The parts on the device, with tensors of so many bytes."""
        sizes = self.geometry.sizes
        weights = Weights.of_tensors(
            tensors,
            experts=sizes.get("expert_count", 0),
            used=sizes.get("expert_used_count", 0),
            extra=sizes.get("nextn_predict_layers", 0),
        )
        taken = of_geometry(self.geometry, self.setting, weights).devices[self.device]
        return MemoryParts(
            taken.weights,
            taken.kv_cache,
            taken.states,
            taken.compute,
            taken.overhead + sum(each.size or 0 for each in self._overheads),
        )

    def loaded(self, names: Iterable[str]) -> frozenset[str]:
        """Return those of a model's tensors that are on the device."""
        return placement.loaded(names, self.setting, len(self.geometry.layers))

    def require_room(self) -> None:
        """Raise RecipeError where nothing is left for weights."""
        if self.around.total >= self.most:
            raise RecipeError(
                f"quantize.target: memory: {self.setting.context:,} tokens of context take "
                f"{self.words(self.around)} without any weights, and {self.most:,} bytes are "
                "allowed; ask for less context, or a smaller cache (kv: q8_0)"
            )

    def words(self, parts: MemoryParts) -> str:
        """Bytes by part: 7,900,000,000 bytes (weights …, cache …)."""
        named = {
            "weights": parts.weights,
            "cache": parts.kv_cache,
            "states": parts.states,
            "intermediate results": parts.compute,
            f"{self.setting.runtime} itself": parts.overhead,
        }
        listed = ", ".join(f"{name} {size:,}" for name, size in named.items() if size)
        return f"{parts.total:,} bytes ({listed})"

    def note(self, parts: MemoryParts) -> str:
        """A sentence on the forecast."""
        unknown = [each.words for each in self._overheads if each.size is None]
        where = {"cpu": "on the CPU", "gpu": "on the GPU"}[self.device]
        return (
            f"memory in {self.setting.runtime} {where} with {self.setting.context:,} tokens, "
            f"forecast: {self.words(parts)} of {self.most:,}"
            + (f"; not counted, for it is not known: {', '.join(unknown)}" if unknown else "")
        )

    @property
    def _overheads(self) -> list[Overhead]:
        return [each for each in overheads(self.setting.runtime) if each.device == self.device]
