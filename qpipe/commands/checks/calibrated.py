"""How fast this machine reads memory and multiplies, as it was measured for `qpipe estimate`."""

from __future__ import annotations

from collections.abc import Sequence
from time import time

from qpipe.commands.checks.check import Check
from qpipe.report import numbers
from qpipe.session.estimating import calibration


def checks(*, measure: bool) -> Sequence[Check]:
    """The check of what is kept in the user's cache; with ``measure`` it is measured first."""
    kept = calibration.calibrate() if measure else calibration.load()
    if kept is None:
        found = "not measured, so that `qpipe estimate` gives no speed on this machine's processor"
        return [Check("calibration", "absent", found, "qpipe doctor --calibrate")]
    found = (
        f"reads {kept.bandwidth / 1e9:.1f} GB/s, computes {kept.flops / 1e9:,.0f} GFLOP/s on "
        f"{kept.cores} cores; measured {numbers.age(time() - kept.created)} ago"
    ).replace("now ago", "now")
    fix = "others used the machine meanwhile: again when it is idle" if kept.disturbed else None
    return [Check("calibration", "ok", found, fix)]
