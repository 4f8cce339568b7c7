"""The token ids that a calibration text became, as engines are given them."""

from __future__ import annotations

import json
from pathlib import Path

CALIBRATION_FILE = "calibration.json"
"""``{"samples": [[token id, …], …]}``"""


def read(artifact: Path) -> list[list[int]]:
    """Token ids [samples][tokens]."""
    samples: list[list[int]] = json.loads((artifact / CALIBRATION_FILE).read_bytes())["samples"]
    return samples
