"""``python -m tests.memory.deviations [FAMILY…]``: how far caches, states and compute buffers of
the families of tests/gguf/families are from those in llama.cpp's log, the worst first, in MiB."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from qpipe.errors import RecipeError
from qpipe.memory import RunSetting, Weights, memory
from qpipe.report import text
from tests.gguf.families import compare, golden
from tests.gguf.families.table import FAMILIES
from tests.memory.llama_log import Weightless, header

MIB = 1 << 20
NATIVE = sorted(name for name, family in FAMILIES.items() if compare.is_native(family))
SETTINGS = (
    RunSetting(context=2048),
    RunSetting(context=2048, flash_attention=False),
    RunSetting(context=1024, sequences=4, ubatch=128, kv_k="q8_0", kv_v="q8_0"),
)


@dataclass(frozen=True)
class Deviation:
    """A buffer of a family in a setting: MiB in the log, and as foreseen."""

    family: str
    setting: int
    part: str
    logged: float
    foreseen: float

    @property
    def off(self) -> float:
        """MiB foreseen too much."""
        return self.foreseen - self.logged

    @property
    def too_far(self) -> bool:
        """True beyond 1 % and 1 MiB."""
        return abs(self.off) > 1 + 0.01 * self.logged


def deviations(family: str, folder: Path) -> Iterator[Deviation]:
    """Of each setting that the family's heads allow, three parts."""
    config = golden.read(family)["config"]
    weightless = Weightless(header(config, folder / f"{family}.gguf"))
    for number, setting in enumerate(SETTINGS):
        try:
            used = memory(config, setting, weights=Weights(0))
        except RecipeError:  # rows that do not fit into blocks
            continue
        logged = weightless.sizes(setting)
        for part, said, mine in (
            ("KV cache", logged.kv, used.kv_cache),
            ("states", logged.states, used.states),
            ("compute", logged.compute, used.compute),
        ):
            yield Deviation(family, number, part, said, mine / MIB)
    weightless.close()


def table(found: Sequence[Deviation]) -> str:
    """The deviations, the worst first."""
    ordered = sorted(found, key=lambda each: -abs(each.off))
    rows = [
        [
            *(each.family, str(each.setting), each.part),
            *(f"{each.logged:.2f}", f"{each.foreseen:.2f}", f"{each.off:+.2f}"),
        ]
        for each in ordered
    ]
    return text.table(("FAMILY", "SETTING", "PART", "LOG", "FORESEEN", "OFF"), rows, right="lrlrrr")


def main() -> int:
    """Print the table; 1 where one is too far off."""
    with TemporaryDirectory() as folder:
        names = sys.argv[1:] or NATIVE
        found = [each for name in names for each in deviations(name, Path(folder))]
    print(table(found))
    return int(any(each.too_far for each in found))


if __name__ == "__main__":
    sys.exit(main())
