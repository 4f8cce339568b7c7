"""llama.cpp, in this process and on PATH, and the way to the hub."""

from __future__ import annotations

import shutil

from qpipe.commands.checks.check import Check
from qpipe.errors import EngineMissingError

_BINARIES = ("llama-quantize", "llama-perplexity", "llama-imatrix", "llama-bench")


def checks(*, network: bool) -> list[Check]:
    """With ``network`` the hub is asked whether it answers; else nothing leaves this machine."""
    return [_in_process(), _binaries(), _hub(), *([_network()] if network else [])]


def _in_process() -> Check:
    from qpipe.llamacpp.library import load
    from qpipe.llamacpp.structs import LLAMA_VERSION, WHEEL, WHEEL_VERSION

    try:
        load()
    except EngineMissingError as error:
        return Check(
            "llama.cpp",
            "broken",
            str(error),
            f"pip install --force-reinstall {WHEEL}=={WHEEL_VERSION}",
        )
    return Check("llama.cpp", "ok", f"{LLAMA_VERSION}, in this process through {WHEEL}")


def _binaries() -> Check:
    found = {name: path for name in _BINARIES if (path := shutil.which(name))}
    if found:
        return Check("llama.cpp tools", "ok", ", ".join(found.values()))
    return Check("llama.cpp tools", "absent", f"none of {', '.join(_BINARIES)} on PATH (optional)")


def _hub() -> Check:
    from huggingface_hub import constants

    words = [f"endpoint {constants.ENDPOINT}", f"cache {constants.HF_HUB_CACHE}"]
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

    try:
        next(iter(HfApi().list_models(limit=1)), None)
    except (httpx.HTTPError, errors.HfHubHTTPError, errors.OfflineModeIsEnabled, OSError) as error:
        return Check(
            "network",
            "absent",
            f"{constants.ENDPOINT} does not answer ({type(error).__name__}: {error})",
            "check the connection and proxy (HTTPS_PROXY), or name a mirror with HF_ENDPOINT; "
            "local checkpoints need none",
        )
    return Check("network", "ok", f"{constants.ENDPOINT} answers")
