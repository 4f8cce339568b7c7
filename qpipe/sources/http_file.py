"""A file at an https address: ranges, redirects, what a server may say instead.

Proxies (HTTPS_PROXY, ALL_PROXY, NO_PROXY), certificates (SSL_CERT_FILE) and logins (``~/.netrc``)
are those of the environment, as httpx reads them.
"""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qpipe.errors import SourceError
from qpipe.sources.body import GZIP, has_end, packed, pieces
from qpipe.sources.transfer import Body, CutError

if TYPE_CHECKING:
    import httpx

_REDIRECTS = 10
# Seconds to connect, and to wait for the next bytes.
_CONNECT, _READ = 20.0, 60.0
# Seconds that a server may ask us to wait.
_LONGEST_WAIT = 120.0
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_BUSY = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class HttpFile:
    """The file at ``url``; ``shown`` is the address without what may be a secret."""

    url: str
    name: str
    shown: str

    @contextlib.contextmanager
    def open(self, start: int, version: str | None) -> Iterator[Body]:
        """The bytes from ``start`` on if the file is still of that version, else all of them.

        Raises CutError, and SourceError where no other attempt helps.
        """
        import httpx

        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if version is not None:
                headers["If-Range"] = version
        try:
            with _client(self.shown) as client, self._answer(client, headers) as answer:
                yield self._body(answer, start)
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise SourceError(f"{self.shown}: {error}") from None
        except httpx.TransportError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise SourceError(
                    f"{self.shown}: its certificate is not one that is trusted here ({error}); for "
                    "an authority of your own name its file in SSL_CERT_FILE"
                ) from None
            raise CutError(str(error) or type(error).__name__) from None
        except httpx.DecodingError as error:
            raise CutError(f"what came cannot be decompressed ({error})") from None

    @contextlib.contextmanager
    def _answer(self, client: httpx.Client, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """The last answer of a chain of redirects."""
        request = client.build_request("GET", self.url, headers=headers)
        for _ in range(_REDIRECTS + 1):
            answer = client.send(request, stream=True)
            following = answer.next_request
            if following is None:
                try:
                    yield answer
                finally:
                    answer.close()
                return
            answer.close()
            if following.url.scheme != "https" and request.url.scheme != following.url.scheme:
                raise SourceError(
                    f"{self.shown}: redirects from {request.url.scheme} to {following.url.scheme}://"
                    f"{following.url.host}, where bytes can be changed on the way: not followed"
                )
            request = following
        raise SourceError(
            f"{self.shown}: redirects more than {_REDIRECTS} times, perhaps in a ring"
        )

    def _body(self, answer: httpx.Response, start: int) -> Body:
        page = answer.headers.get("Content-Type", "").partition(";")[0].strip() == "text/html"
        if answer.status_code == 416 and start:
            if answer.headers.get("Content-Range") == f"bytes */{start}":
                return Body(start, start, None, iter(()), page)  # all of it is here
            raise CutError("the file is shorter than what is here of it", anew=True)
        if answer.status_code not in (200, 206):
            raise self._refused(answer)
        whole = has_end(answer)
        if (packing := packed(answer)) is not None:  # unasked, and counted in other bytes
            if packing not in GZIP:
                raise SourceError(
                    f"{self.shown}: the server sends the file compressed ({packing}), though it "
                    "was asked not to; fetch and unpack it otherwise, and give the path"
                )
            return Body(0, None, None, pieces(answer), page, whole)
        version = answer.headers.get("ETag", answer.headers.get("Last-Modified"))
        if version is not None and version.startswith("W/"):
            version = None
        length = answer.headers.get("Content-Length")
        if answer.status_code == 200:
            total = int(length) if length and length.isdecimal() else None
            return Body(0, total, version, pieces(answer), page, whole)
        span = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if span is None or int(span[1]) != start:
            raise SourceError(
                f"{self.shown}: the server sends other bytes than it was asked for "
                f"(Content-Range {answer.headers.get('Content-Range')!r})"
            )
        if span[3] == "*":
            raise CutError("the server names a part, and not the bytes of the whole", anew=True)
        return Body(start, int(span[3]), version, pieces(answer), page)

    def _refused(self, answer: httpx.Response) -> Exception:
        status = f"{answer.status_code} {answer.reason_phrase}"
        if answer.status_code in _BUSY:
            return CutError(f"the server answered {status}", _wait(answer))
        if answer.status_code in (401, 403, 407):
            return SourceError(
                f"{self.shown}: the server answered {status}: it wants a login (~/.netrc), or the "
                "signature in the address has expired; get a new address"
            )
        if answer.status_code in (404, 410):
            return SourceError(f"{self.shown}: there is no such file ({status}); check the address")
        return SourceError(f"{self.shown}: the server answered {status}")


def _client(shown: str) -> httpx.Client:
    import netrc

    import httpx

    login: httpx.Auth | None = None
    with contextlib.suppress(OSError, netrc.NetrcParseError):
        login = httpx.NetRCAuth()
    timeout = httpx.Timeout(_READ, connect=_CONNECT)
    try:
        return httpx.Client(auth=login, timeout=timeout, headers={"User-Agent": "qpipe"})
    except (ImportError, ValueError) as error:  # a proxy in the environment that httpx cannot take
        raise SourceError(
            f"{shown}: the proxy of HTTPS_PROXY, HTTP_PROXY or ALL_PROXY cannot be used: {error}"
        ) from None


def _wait(answer: httpx.Response) -> float:
    """The seconds that a server asks to wait, in its two ways."""
    text = answer.headers.get("Retry-After", "")
    seconds = 0.0
    if text.isdecimal():
        seconds = float(text)
    elif text:
        with contextlib.suppress(ValueError, TypeError):
            date = email.utils.parsedate_to_datetime(text)
            seconds = (date - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
    return min(max(seconds, 0.0), _LONGEST_WAIT)
