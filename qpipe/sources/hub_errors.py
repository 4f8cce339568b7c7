"""What goes wrong with a hub, in our words: repository, revision, file, and what to do.

No message holds a token, nor a signed address. huggingface_hub logs addresses whole; its handlers
get a filter.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from qpipe.errors import OutOfSpaceError, QpipeError, SourceError, UnreachableError
from qpipe.machine.filesystem import is_full
from qpipe.sources.hub_source import HubSource
from qpipe.support.addresses import without_secrets

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

_T = TypeVar("_T")

BUSY = (408, 429, 500, 502, 503, 504)
"""Statuses of a hub that may answer in a while."""

# Seconds that a listing or the head of a file waits for a busy hub, and most that it may ask for.
_WAITS, _LONGEST = (1.0, 2.0), 60.0


_HOME = "https://huggingface.co"
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


class _WithoutSecrets(logging.Filter):
    """Takes secrets out of what is logged."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = without_secrets(record.getMessage()), ()
        return True


def keep_secrets() -> None:
    """Have huggingface_hub log no signed address (1.33 does, where it tries again)."""
    from huggingface_hub.utils import logging as hub_logging

    hub_logging.get_verbosity()  # makes the handlers
    for handler in logging.getLogger("huggingface_hub").handlers:
        if not any(isinstance(one, _WithoutSecrets) for one in handler.filters):
            handler.addFilter(_WithoutSecrets())


def endpoint() -> str:
    """Return the hub's address as messages have it."""
    from huggingface_hub import constants

    at = constants.ENDPOINT
    return "the Hugging Face hub" if at == _HOME else without_secrets(at)


def patiently(ask: Callable[[], _T]) -> _T:
    """Ask a hub, and again where it is busy, after the time that it names.

    huggingface_hub (1.33) does so for files' bytes alone, and however long it is to wait.
    """
    import httpx
    from huggingface_hub import errors

    for wait in _WAITS:
        try:
            return ask()
        except (httpx.RemoteProtocolError, httpx.ReadError):
            time.sleep(wait)
        except errors.HfHubHTTPError as error:
            time.sleep(patience(error, wait))
    return ask()


def patience(error: HfHubHTTPError, wait: float) -> float:
    """Seconds after which to ask a busy hub again: those that it names, else ``wait``.

    Raises the error where the hub is not busy, or for long.
    """
    asked = error.response.headers.get("Retry-After", "")
    seconds = float(asked) if asked.isdigit() else wait
    if error.response.status_code not in BUSY or seconds > _LONGEST:
        raise error
    return seconds


@contextlib.contextmanager
def hub_errors(source: HubSource, *let: type[Exception], file: str | None = None) -> Iterator[None]:
    """Turn what huggingface_hub raises, but for what to ``let`` pass, into a SourceError that says
    what to do."""
    import httpx
    from huggingface_hub import errors

    keep_secrets()
    label = source.label if file is None else f"{source.label}: {file}"
    passed: tuple[type[Exception], ...] = (QpipeError, *let)
    try:
        yield
    except passed:
        raise
    except errors.HfHubHTTPError as error:
        raise _answered(source, label, file, error) from None
    except errors.LocalEntryNotFoundError as error:
        if isinstance(error.__cause__, errors.HfHubHTTPError):
            raise _answered(source, label, file, error.__cause__) from None
        raise unreachable(label, "it is not in the hub's cache") from None
    except httpx.ProxyError as error:
        raise UnreachableError(
            f"{label}: the proxy does not let it through ({_words(error)}); correct HTTPS_PROXY, "
            f"HTTP_PROXY or ALL_PROXY, or add the hub's host to NO_PROXY"
        ) from None
    except httpx.TimeoutException:
        raise UnreachableError(
            f"{label}: {endpoint()} did not answer in time; try again, what came is kept; "
            "HF_HUB_DOWNLOAD_TIMEOUT sets more seconds than 10"
        ) from None
    except (errors.OfflineModeIsEnabled, httpx.HTTPError, ConnectionError) as error:
        raise unreachable(label, _words(error)) from None
    except (json.JSONDecodeError, KeyError):
        raise SourceError(
            f"{label}: {endpoint()} does not answer as a hub does; correct HF_ENDPOINT, or look "
            "what a proxy or a login page of the network puts in its place"
        ) from None
    except httpx.InvalidURL:
        raise SourceError(
            f"{label}: {endpoint()} is no address of a hub; correct HF_ENDPOINT"
        ) from None
    except UnicodeEncodeError:  # into a header
        raise SourceError(
            f"{label}: the token that is set has a character that no token has; correct HF_TOKEN, "
            "or log in by `hf auth login`"
        ) from None
    except ValueError as error:  # a name that the hub does not allow, a file too large without Xet
        raise SourceError(f"{label}: {_words(error)}") from None
    except OSError as error:
        raise _of_the_disk(label, error) from None


def _answered(
    source: HubSource, label: str, file: str | None, error: HfHubHTTPError
) -> SourceError:
    """The error for what a hub answered."""
    from huggingface_hub import errors, get_token

    # The order counts: in huggingface_hub 1.33 a GatedRepoError is a RepositoryNotFoundError.
    status = error.response.status_code
    said = error.response.headers.get("X-Error-Message", "")
    if isinstance(error, errors.GatedRepoError):
        which = "the token that is set may not read it" if get_token() else "no token is set"
        return SourceError(
            f"{label}: this repository is gated, and {which}; accept its terms on its page on the "
            "hub, then set HF_TOKEN to a token of that account, or log in by `hf auth login`"
        )
    if status == 401 and "credentials" in said:
        return SourceError(
            f"{label}: {endpoint()} does not know the token that is set; it was revoked, expired "
            "or misspelt: correct or unset HF_TOKEN, or log in by `hf auth login`"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return SourceError(
            f"{label}: the repository has no revision {source.revision!r}; "
            "correct model.revision (a branch, a tag or a commit SHA)"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return SourceError(
            f"{label}: there is no such repository at {endpoint()}, or it is private; "
            "check the spelling, or set HF_TOKEN to a token that may read it"
        )
    if isinstance(error, errors.EntryNotFoundError):
        return no_such_file(source, file or source.file)
    kind = UnreachableError if status in BUSY else SourceError
    return kind(f"{label}: {_of_status(status, error)}")


def _of_status(status: int, error: HfHubHTTPError) -> str:
    said = error.response.headers.get("X-Error-Message") or error.server_message or ""
    words = f"{endpoint()} answered {status}" + (f" ({_first(said)})" if said.strip() else "")
    if status == 429:
        asked = error.response.headers.get("Retry-After", "")
        when = f"in {asked} s" if asked.isdigit() else "later"
        return (
            f"{words}: too many requests came from here; try again {when}, what came is kept; with "
            "HF_TOKEN set more are allowed"
        )
    if status in BUSY:
        return f"{words}: it has trouble of its own; try again later, what came is kept"
    if status in (401, 403):
        return f"{words}; a token that may read it is needed: set HF_TOKEN"
    return f"{words}; try again, or by another way (HF_ENDPOINT)"


def _of_the_disk(label: str, error: OSError) -> QpipeError:
    if is_full(error):
        return OutOfSpaceError(
            f"{label}: the disk of the hub's cache is full; free some space, or point "
            "HF_HOME at another disk; the download goes on from where it stopped"
        )
    return SourceError(
        f"{label}: the hub's cache cannot be used ({error.filename}: {error.strerror}); "
        "put its permissions right, or point HF_HOME at a folder of yours"
    )


def no_such_file(source: HubSource, file: str | None) -> SourceError:
    """Return the error of a file that is not in a repository."""
    return SourceError(
        f"{source.label}: the repository has no file {file!r} at this revision; its page on the "
        "hub lists its files"
    )


def unreachable(label: str, why: str) -> UnreachableError:
    """Return the error of a hub that does not answer."""
    proxies = [name for name in _PROXIES if os.environ.get(name) or os.environ.get(name.lower())]
    way = f"the proxy ({', '.join(proxies)})" if proxies else "the network"
    return UnreachableError(
        f"{label}: {endpoint()} cannot be reached ({why}); check {way}, HF_ENDPOINT and "
        "HF_HUB_OFFLINE, or give a local folder as model.source"
    )


def _words(error: Exception) -> str:
    return _first(str(error)) or type(error).__name__


def _first(text: str) -> str:
    """The first line of what somebody else says, without secrets."""
    return without_secrets(text.strip().split("\n")[0])[:300]
