"""Which stages measure KL divergence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_divergence(stage: str, params: Mapping[str, Any]) -> bool:
    """True for a measurement of KL divergence from a reference."""
    return stage == "evaluate" and params.get("metric") == "kld"
