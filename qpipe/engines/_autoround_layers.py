"""What AutoRound needs to go on from the layers that an attempt which was killed has finished.

It has a class for that, `ResumeState` (auto_round/utils/resume.py, 0.15.1), which is put aside here
for four reasons. It writes a layer's outputs over the last one's before it notes that the layer is
done, so that a kill in between leaves the wrong ones. It does not keep the state of the random
numbers, so that the samples come in another order, and the result has other bytes. The matrices of
the layers that were done stay in the model, and are written once more beside their packed forms.
And a kill after the last layer makes the next attempt fail: orchestrator.py looks for one more.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from qpipe.errors import StageError
from qpipe.machine.filesystem import sync_all

STATE = "layers.pt"
_SHARDS = "model-shard-*"


@contextmanager
def resuming(partial: Path) -> Iterator[tuple[Path, list[int]]]:
    """Yield the folder for AutoRound's output, and how many layers an earlier attempt left.

    The number stands in a list of one, and is filled in once AutoRound has begun. Raises StageError
    if these layers cannot be gone on from, and takes them away.
    """
    from auto_round.utils import resume

    if not (partial / STATE).exists():
        shutil.rmtree(partial, ignore_errors=True)  # a layer that was not finished
    partial.mkdir(parents=True, exist_ok=True)
    original, layers = resume.ResumeState, [0]
    # auto-round 0.15.1's own loses layers and random state: the four reasons above.
    resume.ResumeState = lambda folder, signature, names: Layers(partial, names, folder, layers)
    os.environ["AR_RESUME_DIR"] = str(partial / "groups")
    try:
        yield partial / "made", layers
        (partial / STATE).unlink(missing_ok=True)  # its files are about to be moved
    finally:
        resume.ResumeState = original
        del os.environ["AR_RESUME_DIR"]


@dataclass(frozen=True)
class _LayerState:
    """All that the next layer hangs on; ``shards`` are the sizes of the files written so far."""

    done: int
    shards: dict[str, int]
    inputs: dict[str, Any]
    randomness: dict[str, Any]


class Layers:
    """Stands in for `ResumeState`: the layers that are done, and what the next one starts from.

    One file holds it, and is replaced whole. The last layer is never noted, for the reason above.
    AutoRound must write each layer when it is done (immediate saving), as it does by default;
    where it cannot, and for a second row of layers (a vision tower's), nothing is kept.
    """

    def __init__(self, partial: Path, names: Sequence[str], group: str, count: list[int]) -> None:
        from auto_round.compressors.shard_writer import ShardWriter

        self.path, self.names = partial / STATE, names
        self.writer = ShardWriter.get_shard_writer() if group.endswith("group_0") else None
        self.state = None
        if self.writer is not None and self.path.exists():
            self.state = self._load()
            self._adopt(self.state, self.writer)
        self.done = self.resume_index
        count[0] += self.done

    @property
    def resume_index(self) -> int:
        """The first layer that is not done."""
        return self.state.done if self.state else 0

    def load_q_input(self) -> Any:
        """The samples' outputs after the quantized layers so far; None if no layer is done."""
        return self.state.inputs["quantized"] if self.state else None

    def load_input_ids(self) -> Any:
        """Restore the random state and return the samples' outputs after the original layers."""
        import torch

        if self.state is None:
            return None
        random.setstate(self.state.randomness["python"])
        torch.set_rng_state(self.state.randomness["torch"])
        return self.state.inputs["original"]

    def mark_block_done(self, name: str, quantized: Any, original: Any) -> None:
        """Called when the layer's file is written, with what `load_q_input` and
        `load_input_ids` are to give."""
        import torch

        self.done += 1
        # auto-round 0.15.1 fails if it begins again after the last layer.
        if self.writer is None or self.done >= len(self.names):
            return
        folder = Path(self.writer.output_dir)
        files = sorted(folder.glob(_SHARDS))
        state = _LayerState(
            self.done,
            {path.name: path.stat().st_size for path in files},
            {"quantized": quantized, "original": original},
            {"python": random.getstate(), "torch": torch.get_rng_state()},
        )
        # Replaced whole: auto-round 0.15.1 leaves the wrong outputs if it is killed in between.
        beside = self.path.with_suffix(".new")
        torch.save(vars(state), beside)
        sync_all([*files[-1:], folder, beside])
        beside.replace(self.path)

    def clear(self) -> None:
        """The folder goes with the artifact's completion."""

    def _load(self) -> _LayerState:
        import torch

        try:
            return _LayerState(**torch.load(self.path, map_location="cpu"))
        except (EOFError, RuntimeError, TypeError, UnpicklingError) as error:
            raise self._useless(f"{self.path.name} cannot be read") from error

    def _adopt(self, state: _LayerState, writer: Any) -> None:
        """Keep the files of the layers that are done and no others; take those out of the model."""
        from auto_round.utils import get_module

        folder = Path(writer.output_dir)
        for path in folder.glob("model-*-of-*.safetensors"):  # it was completing the checkpoint
            # auto-round 0.15.1 names its files anew when all are there.
            path.rename(folder / f"model-shard-{path.name.split('-')[1]}.safetensors")
        sizes = {path.name: path.stat().st_size for path in folder.glob(_SHARDS)}
        for name, size in state.shards.items():
            if sizes.pop(name, None) != size:
                raise self._useless(f"{name} is not whole")
        for name in sizes:
            (folder / name).unlink()
        for name in self.names[: state.done]:
            # auto-round 0.15.1 would write their matrices once more, beside their packed forms.
            get_module(writer.model, name).to("meta")

    def _useless(self, why: str) -> StageError:
        shutil.rmtree(self.path.parent)
        return StageError(
            "AutoRound cannot go on from the layers that an earlier attempt finished "
            f"({why}); they are removed: give the same command again, and it begins anew"
        )
