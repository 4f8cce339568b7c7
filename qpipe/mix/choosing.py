"""The types of a model's tensors that lose least within a target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qpipe.errors import RecipeError
from qpipe.gguf.stream import padded
from qpipe.gguf.types import GGMLType
from qpipe.mix.allocation import NoChoiceError, Option, allocate
from qpipe.mix.sensitivity import Sensitivity
from qpipe.mix.target import MixTarget

# The search for the smallest mix within a KL divergence ends here: no step of a type is as small.
_STEP = 1e-9


@dataclass(frozen=True)
class FixedParts:
    """The parts of a file that no mix changes: ``overhead`` bytes around its matrices, bytes and
    weights of the other tensors, and the types of ``pinned`` matrices."""

    overhead: int
    other_bytes: int
    other_weights: int
    pinned: Mapping[str, GGMLType]


@dataclass(frozen=True)
class Mix:
    """The types by tensor, the bytes of the file with them, and the KL divergence that is expected
    of it: ± ``half``, the 95 % interval of the ladder that it is read from."""

    types: Mapping[str, GGMLType]
    file_bytes: int
    bits_per_weight: float
    kld: float
    half: float

    def note(self, target: MixTarget) -> str:
        """A sentence on it."""
        return (
            f"a mix of types for {target.words}: {self.file_bytes:,} bytes, "
            f"{self.bits_per_weight:.2f} bits per weight, kld about {self.kld:.3g} "
            f"± {self.half:.1g} expected; evaluate=kld measures it"
        )


def choose(sensitivity: Sensitivity, target: MixTarget, file: FixedParts) -> Mix:
    """Take the mix. Raises RecipeError, naming the smallest and the largest, for a target outside
    of them, and for bounds that no mix keeps together."""
    chooser = _Chooser(sensitivity, file)
    smallest, largest = chooser.extremes()
    budget = chooser.budget(target)
    if budget is not None and not smallest.file_bytes <= budget <= largest.file_bytes:
        raise _outside(target, f"{budget:,} bytes", smallest, largest)
    if target.kld is None:
        assert budget is not None, target
        return chooser.within(budget)
    if not largest.kld <= target.kld <= smallest.kld:
        raise _outside(target, f"kld {target.kld:g}", smallest, largest)
    mix = chooser.smallest_within(target.kld)
    if budget is not None and mix.file_bytes > budget:
        raise RecipeError(
            f"quantize.target: {target.words} contradict each other: kld {target.kld:g} takes "
            f"{mix.file_bytes:,} bytes ({mix.bits_per_weight:.2f} bits per weight), and the others "
            f"allow {budget:,}; leave one out"
        )
    return mix


def _outside(target: MixTarget, asked: str, smallest: Mix, largest: Mix) -> RecipeError:
    def words(mix: Mix) -> str:
        return (
            f"{mix.file_bytes:,} bytes ({mix.bits_per_weight:.2f} bits per weight, kld about "
            f"{mix.kld:.3g})"
        )

    return RecipeError(
        f"quantize.target: {target.words}: no mix keeps {asked} and uses it: the smallest is "
        f"{words(smallest)}, the largest {words(largest)}; ask for something between, or change "
        "the types to choose from (stages.sensitivity.with.types)"
    )


class _Chooser:
    def __init__(self, sensitivity: Sensitivity, file: FixedParts) -> None:
        self.sensitivity, self.file = sensitivity, file
        self.names = [*sensitivity.tensors]
        self.kinds: list[list[GGMLType]] = []
        self.options: list[list[Option]] = []
        for name, tensor in sensitivity.tensors.items():
            pinned = file.pinned.get(name)
            if pinned is not None:
                known = tensor.types.get(pinned.name)
                losses = {pinned: 0.0 if known is None else known.kld}
            else:
                losses = {GGMLType[kind]: one.kld for kind, one in tensor.types.items()}
            self.kinds.append([*losses])
            self.options.append(
                [
                    Option(padded(kind.tensor_bytes(tensor.shape)), loss)
                    for kind, loss in losses.items()
                ]
            )

    def budget(self, target: MixTarget) -> int | None:
        """The bytes of the file that size and bits per weight allow."""
        allowed = [] if target.size is None else [target.size]
        if target.bpw is not None:
            weights = self.file.other_weights + self._weights()
            tensors = int(target.bpw * weights / 8) - self.file.other_bytes
            allowed.append(self.file.overhead + tensors)
        return min(allowed) if allowed else None

    def extremes(self) -> tuple[Mix, Mix]:
        """The smallest mix and the largest."""
        small, large = [], []
        for group in self.options:
            sizes = [option.size for option in group]
            small.append(sizes.index(min(sizes)))
            large.append(sizes.index(max(sizes)))
        return self._mix(small), self._mix(large)

    def within(self, budget: int) -> Mix:
        """The mix that loses least within so many bytes of the file."""
        return self._mix(allocate(self.options, budget - self.file.overhead))

    def smallest_within(self, kld: float) -> Mix:
        """The smallest mix of which no more is expected."""
        low, high = 0.0, sum(max(option.loss for option in group) for group in self.options)
        while high - low > _STEP * max(high, 1.0):
            middle = (low + high) / 2
            if self.sensitivity.whole(middle)[0] <= kld:
                low = middle
            else:
                high = middle
        exchanged = [
            [Option(option.loss, option.size) for option in group] for group in self.options
        ]
        try:
            return self._mix(allocate(exchanged, low))
        except NoChoiceError as error:
            raise RecipeError(
                f"quantize.target: kld {kld:g}: the mix that loses least is expected to lose "
                f"{self.sensitivity.whole(error.least)[0]:.3g}; ask for that or more"
            ) from None

    def _weights(self) -> int:
        return sum(tensor.weights for tensor in self.sensitivity.tensors.values())

    def _mix(self, choice: Sequence[int]) -> Mix:
        taken = [group[at] for group, at in zip(self.options, choice, strict=True)]
        types = {
            name: kinds[at] for name, kinds, at in zip(self.names, self.kinds, choice, strict=True)
        }
        matrices = sum(
            kind.tensor_bytes(self.sensitivity.tensors[name].shape) for name, kind in types.items()
        )
        kld, half = self.sensitivity.whole(sum(option.loss for option in taken))
        return Mix(
            types,
            self.file.overhead + int(sum(option.size for option in taken)),
            8 * (matrices + self.file.other_bytes) / (self._weights() + self.file.other_weights),
            kld,
            half,
        )
