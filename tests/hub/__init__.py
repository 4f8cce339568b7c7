"""A hub on loopback: the part of the Hugging Face HTTP API that huggingface_hub really calls.

    with serve({"someone/model": folder}) as hub:
        hub.fail("model.safetensors", Cut(after=1000), times=1)
        qpipe("run", …, env={"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1"})

A repository is a folder with one commit, read anew at each request; data sets are under
``datasets/OWNER/NAME``. What is uploaded becomes commits of its own. Large files are answered as
the hub does: a redirect to a signed address at another host (here ``localhost`` in place of
``127.0.0.1``), with the SHA-256 and size in ``X-Linked-…``. As on the hub of 2026, small files
are redirected to ``/api/resolve-cache/`` on the same host. There is no Xet.
"""

from tests.hub.faults import Cut, Damaged, Fault, Short, Stall, Status
from tests.hub.repositories import COMMIT, Access, etag
from tests.hub.server import TOKEN, Hub, Seen, serve

__all__ = [
    "COMMIT",
    "TOKEN",
    "Access",
    "Cut",
    "Damaged",
    "Fault",
    "Hub",
    "Seen",
    "Short",
    "Stall",
    "Status",
    "etag",
    "serve",
]
