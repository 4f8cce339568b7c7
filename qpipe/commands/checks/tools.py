"""llama.cpp in this process, programs on PATH, and the way to the hub."""

from __future__ import annotations

from qpipe.commands.checks.check import Check
from qpipe.machine import tools
from qpipe.support.addresses import without_secrets

_PROGRAMS = ("llama-quantize", "llama-perplexity", "llama-imatrix", "llama-bench", "nvcc", "uv")


def checks(*, network: bool) -> list[Check]:
    """Checks of llama.cpp in this process, of programs on PATH and of the hub's settings.

    With ``network`` the hub is asked whether it answers; else nothing leaves this machine.
    """
    return [_in_process(), *map(_program, _PROGRAMS), _hub(), *([_network()] if network else [])]


def _in_process() -> Check:
    from qpipe.llamacpp.c_api import LLAMA_VERSION, WHEEL, WHEEL_VERSION
    from qpipe.llamacpp.library import problem

    why = problem()
    if why is not None:
        help_ = f"pip install --force-reinstall {WHEEL}=={WHEEL_VERSION}"
        return Check("llama.cpp", "broken", why, help_)
    return Check("llama.cpp", "ok", f"{LLAMA_VERSION}, in this process through {WHEEL}")


def _program(name: str) -> Check:
    """A program that is optional, with the version that it prints, if it prints any."""
    tool = tools.find(name)
    if tool.fault is not None:
        return Check(name, "absent", tool.fault, tool.remedy)
    return Check(name, "ok", f"{tool.version} {tool.path}".strip())


def _hub() -> Check:
    from huggingface_hub import constants

    words = [f"endpoint {without_secrets(constants.ENDPOINT)}", f"cache {constants.HF_HUB_CACHE}"]
    words.append("a token is set" if _token() else "no token (only gated models need one)")
    if constants.HF_HUB_OFFLINE:
        words.append("HF_HUB_OFFLINE is set: nothing is downloaded")
    return Check("hub settings", "ok", "; ".join(words))


def _token() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None


def _network() -> Check:
    import httpx
    from huggingface_hub import HfApi, constants, errors

    at = without_secrets(constants.ENDPOINT)
    unanswered = (httpx.HTTPError, httpx.InvalidURL, errors.HfHubHTTPError, ValueError, OSError)
    try:
        next(iter(HfApi().list_models(limit=1)), None)
    except (*unanswered, errors.OfflineModeIsEnabled) as error:
        return Check(
            "network",
            "absent",
            f"{at} does not answer ({type(error).__name__}: {without_secrets(str(error))})",
            "check the connection and proxy (HTTPS_PROXY), or name a mirror with HF_ENDPOINT; "
            "local checkpoints need none",
        )
    return Check("network", "ok", f"{at} answers")
