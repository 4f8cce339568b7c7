"""The environments that engines and evaluators share."""

from __future__ import annotations

from pathlib import Path

from qpipe.environments.environment import Environment
from qpipe.machine import tools

ISOLATED = Path(__file__).parents[1] / "engines" / "isolated"
"""Where the requirements, locks and scripts of the engines that come with qpipe are."""

EXLLAMAV2 = Environment("exllamav2", ISOLATED, compiles="exllamav2.ext")
"""exllamav2 0.3.2, which compiles its CUDA code when it is first imported."""


def exllamav2_compiler_problem() -> str | None:
    """Why its CUDA code neither compiles nor, compiled before, loads: torch asks for nvcc each time
    (2.13.0, utils/cpp_extension.py). None if it does."""
    why = tools.find("nvcc").problem
    return why and f"exllamav2 compiles its CUDA code when it is first used, and {why}"
