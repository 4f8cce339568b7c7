"""Numbers as people read them: sizes in binary units, durations, ages, scores. Imports nothing."""

from __future__ import annotations

_UNITS = ("KiB", "MiB", "GiB", "TiB")

# Units that a size is written with, and those of rates and times.
_BYTES = "bytes"
_RATES = ("t/s", "s")
_HUGE = 1e9  # the perplexity of a model that is broken or was never trained


def named(unit: str) -> str:
    """A unit as a heading shows it: empty for bytes, whose cells show theirs."""
    return "" if unit == _BYTES else unit


def figure(value: float, *, unit: str = "", digits: int | None = None) -> str:
    """A score in ``digits`` decimals; bytes are written as a size.

    Without ``digits``, rates and times have one decimal, from 1,000 on none, below 10 three; whole
    numbers have none; all else has four, below 0.1 three figures. From 10⁹ on: 1.352e+33.
    """
    if unit == _BYTES:
        return size(value)
    if abs(value) >= _HUGE:
        return f"{value:.4g}"
    if digits is not None:
        return f"{value:,.{digits}f}"
    if unit in _RATES:
        if value >= 10:
            return f"{value:,.{0 if value >= 999.95 else 1}f}"
        return f"{value:.3f}"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if value == 0 or abs(value) >= 0.1 else f"{value:#.3g}"


def signed(value: float, *, unit: str = "", digits: int | None = None) -> str:
    """A difference of scores with its sign, in ``digits`` decimals (by default four); bytes are
    written as a size."""
    if unit == _BYTES:
        return f"{'-' if value < 0 else '+'}{size(abs(value))}"
    if abs(value) >= _HUGE:
        return f"{value:+.4g}"
    return f"{value:+,.{digits}f}" if digits is not None else f"{value:+.4f}"


def percent(share: float) -> str:
    """A signed share in percent, in two decimals, or one figure of what would round to nothing."""
    return f"{share:+.2%}" if share == 0 or abs(share) >= 5e-5 else f"{share * 100:+.1g}%"


def size(count: float) -> str:
    """A number of bytes in three figures, e.g. ``812 B``, ``4.21 MiB``, ``15.2 GiB``."""
    if count < 1000:
        return f"{count:.0f} B"
    power = 0
    while count >= 1000 and power < len(_UNITS):
        count, power = count / 1024, power + 1
    return f"{count:.{_decimals(count)}f} {_UNITS[power - 1]}"


def _decimals(value: float) -> int:
    if value < 9.995:
        return 2
    return 1 if value < 99.95 else 0


def duration(seconds: float) -> str:
    """A span of time, e.g. ``0.84 s``, ``12.3 s``, ``4m05s``, ``2h14m``, ``3d02h``."""
    if seconds < 59.95:
        return f"{seconds:.{2 if seconds < 9.995 else 1}f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def age(seconds: float) -> str:
    """The age of something in one unit, e.g. ``now``, ``40s``, ``12m``, ``5h``, ``31d``."""
    if seconds < 1:
        return "now"
    for unit, length, limit in (("s", 1, 60), ("m", 60, 3600), ("h", 3600, 86400)):
        if seconds < limit:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds // 86400)}d"


def count(number: float) -> str:
    """A count with thousands separated, e.g. ``1,234,567``."""
    return f"{number:,.0f}"
