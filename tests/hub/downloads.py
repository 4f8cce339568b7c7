"""What is read of a hub: what a repository holds, and its files."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote

from tests.hub import sending
from tests.hub.repositories import Repository, Stored

if TYPE_CHECKING:
    from tests.hub.server import Handler


def allowed(handler: Handler, name: str, *, listing: bool) -> Repository | None:
    """The repository of that name, if who asks may see it, or (``listing``) what is in it; else
    the request is answered as the hub does."""
    access = handler.hub.access.get(name)
    shut = access is not None and handler.token not in access.tokens
    gated = name.startswith("gated/") or (access is not None and access.kind == "gated")
    if name.startswith("gated/") or (shut and gated and not listing):
        code = 401 if handler.token is None else 403
        handler.refuse(code, "GatedRepo", f"Access to model {name} is restricted")
    elif name not in handler.hub.known or (shut and not gated):
        code = 401 if handler.token is None else 404
        handler.refuse(code, "RepoNotFound", "Repository not found")
    else:
        return handler.hub.known[name]
    return None


def of_repository(handler: Handler, name: str, what: str | None, rest: str | None) -> None:
    """``/api/models/OWNER/NAME/…``."""
    if moved := handler.hub.moved.get(name):
        _redirect(handler, handler.path.replace(name, moved, 1))
        return
    repository = allowed(handler, name, listing=what in (None, "revision", "auth-check"))
    if repository is None:
        return
    revision, _, inside = (rest or "main").partition("/")
    commit = repository.commit(unquote(revision))
    if what == "refs":
        handler.json(_refs(repository))
    elif commit is None:
        handler.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    elif what in (None, "revision"):
        handler.json(_info(handler, name, repository, commit))
    elif what == "tree":
        _tree(handler, repository, commit, unquote(inside))
    elif what == "paths-info":
        asked = parse_qs(handler.body().decode())["paths"]
        files = handler.hub.reader.files(repository.commits[commit])
        handler.json([_entry(path, files[path]) for path in asked if path in files])
    elif what == "commits":
        about = {"title": "", "message": "", "authors": [], "date": _DATE}
        handler.json([{"id": one, **about} for one in reversed(repository.commits)])
    else:
        handler.json({})


_DATE = "2026-01-01T00:00:00.000Z"


def _info(handler: Handler, name: str, repository: Repository, commit: str) -> dict[str, Any]:
    files = handler.hub.reader.files(repository.commits[commit])
    blobs = handler.query.get("blobs", [""])[0].lower() == "true"
    access = handler.hub.access.get(name)
    plain = name.removeprefix("datasets/")
    return {
        "_id": "1",
        "id": plain,
        "modelId": plain,
        "author": plain.split("/")[0],
        "sha": commit,
        "lastModified": _DATE,
        "private": access is not None and access.kind == "private",
        "gated": "manual" if access is not None and access.kind == "gated" else False,
        "disabled": False,
        "tags": [],
        "downloads": 0,
        "likes": 0,
        "siblings": [
            {"rfilename": path, **(_blob(file) if blobs else {})} for path, file in files.items()
        ],
    }


def _blob(file: Stored) -> dict[str, Any]:
    lfs = {"sha256": file.oid, "size": file.size, "pointerSize": 134}
    return {"size": file.size, "blobId": file.blob_id, **({"lfs": lfs} if file.large else {})}


def _entry(path: str, file: Stored) -> dict[str, Any]:
    lfs = {"oid": file.oid, "size": file.size, "pointerSize": 134}
    entry = {"type": "file", "path": path, "size": file.size, "oid": file.blob_id}
    return {**entry, **({"lfs": lfs} if file.large else {})}


def _tree(handler: Handler, repository: Repository, commit: str, inside: str) -> None:
    """A page of the files below a folder, all of them at any depth or those of the folder."""
    files = handler.hub.reader.files(repository.commits[commit])
    beneath = f"{inside}/" if inside else ""
    entries: list[dict[str, Any]] = []
    for path, file in files.items():
        if not path.startswith(beneath):
            continue
        folder, _, _ = path.removeprefix(beneath).rpartition("/")
        if handler.query.get("recursive", ["false"])[0].lower() == "true" or not folder:
            entries.append(_entry(path, file))
        else:
            name = beneath + folder.split("/")[0]
            entries += [{"type": "directory", "path": name, "size": 0, "oid": "0" * 40}]
    entries = [one for at, one in enumerate(entries) if one not in entries[:at]]
    begin = int(handler.query.get("cursor", ["0"])[0])
    end = begin + handler.hub.page
    asked = [part for part in handler.parts.query.split("&") if not part.startswith("cursor")]
    address = f"{handler.hub.url}{handler.parts.path}?{'&'.join([*asked, f'cursor={end}'])}"
    more = f'<{address}>; rel="next"'
    handler.json(entries[begin:end], headers={"Link": more} if end < len(entries) else {})


def _refs(repository: Repository) -> dict[str, Any]:
    branches = [
        {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit}
        for name, commit in repository.branches.items()
        if not name.startswith("refs/pr/")
    ]
    return {"branches": branches, "converts": [], "tags": [], "pullRequests": []}


def resolve(handler: Handler, name: str, revision: str, path: str) -> None:
    """``/OWNER/NAME/resolve/REVISION/FILE``: where the file is, and what it is called."""
    if moved := handler.hub.moved.get(name):
        _redirect(handler, handler.path.replace(name, moved, 1))
        return
    repository = allowed(handler, name, listing=False)
    if repository is None:
        return
    commit = repository.commit(revision)
    if commit is None:
        handler.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return
    folder = repository.commits[commit]
    if not (folder / path).is_file():
        handler.refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        return
    file = handler.hub.reader.file(folder, folder / path)
    kind = name.split("/")[0] if name.count("/") == 2 else "models"
    plain = name.removeprefix(f"{kind}/")
    target = f"/api/resolve-cache/{kind}/{plain}/{commit}/{quote(path)}"
    if file.large:
        elsewhere = handler.hub.url.replace("127.0.0.1", "localhost")
        place = f"{quote(name, safe='')}/{commit}/{quote(path)}"
        target = f"{elsewhere}/cdn/{place}?X-Amz-Signature={handler.hub.signature}"
    headers = {
        "X-Repo-Commit": commit,
        "X-Linked-Etag": f'"{file.oid}"',
        "X-Linked-Size": str(file.size),
        "Accept-Ranges": "bytes",
        "Location": target,
    }
    handler.send(302 if file.large else 307, b"", headers)


def _redirect(handler: Handler, target: str) -> None:
    handler.send(307, b"", {"Location": target})


def cached_file(handler: Handler, name: str, commit: str, path: str) -> None:
    """``/api/resolve-cache/…``: a small file."""
    repository = allowed(handler, name, listing=False)
    if repository is not None:
        folder = repository.commits[commit]
        file = handler.hub.reader.file(folder, folder / path)
        _file(handler, file, {"X-Repo-Commit": commit, "ETag": f'"{file.oid}"'})


def signed(handler: Handler, place: str) -> None:
    """``/cdn/…``: a file of LFS, for who has a signed address; tokens are not for this host."""
    name, commit, path = map(unquote, place.split("/", 2))
    if handler.query.get("X-Amz-Signature") != [handler.hub.signature] or handler.token is not None:
        handler.send(403, b"<Error><Code>AccessDenied</Code></Error>", {"Content-Type": "text/xml"})
        return
    folder = handler.hub.known[name].commits[commit]
    file = handler.hub.reader.file(folder, folder / path)
    _file(handler, file, {"ETag": f'"{file.oid}"', "Content-Type": "binary/octet-stream"})


def _file(handler: Handler, file: Stored, headers: dict[str, str]) -> None:
    """The bytes of a file, or those of a range; of a small one compressed, where that is taken."""
    takes = handler.headers.get("Accept-Encoding", "")
    if handler.hub.gzip and not file.large and "gzip" in takes and handler.command == "GET":
        packed = gzip.compress(file.path.read_bytes())
        handler.send(200, packed, {**headers, "Content-Encoding": "gzip"})
        return
    fault = None
    if handler.command == "GET":
        ranged = "Range" in handler.headers
        fault = handler.hub.faults.take("GET", handler.parts.path, body=True, ranged=ranged)
    size = sending.length(file.size, fault)
    asked = handler.headers.get("Range")
    if handler.headers.get("If-Range", headers["ETag"]) != headers["ETag"]:
        asked = None
    try:
        span = sending.span(asked, size)
    except ValueError:
        handler.send(416, b"", {**headers, "Content-Range": f"bytes */{size}"})
        return
    begin, end = span or (0, size)
    place = {"Content-Range": f"bytes {begin}-{end - 1}/{size}"} if span else {}
    sizes = {"Content-Length": str(end - begin), "Accept-Ranges": "bytes"}
    handler.begin(206 if span else 200, {**headers, **sizes, **place})
    if handler.command == "GET":
        handler.wfile.flush()
        handler.hub.sending += 1
        handler.hub.most = max(handler.hub.most, handler.hub.sending)
        if not sending.send(handler.connection, file.path, begin, end, fault):
            handler.close_connection = True
        handler.hub.sending -= 1
