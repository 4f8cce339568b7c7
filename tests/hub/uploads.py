"""What is written to a hub: repositories, large files ahead of commits, commits, branches.

Everything needs a token that may write. Large files wait as objects, named by their SHA-256, until
a commit takes them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from tests.hub import sending
from tests.hub.repositories import Repository, is_large

if TYPE_CHECKING:
    from tests.hub.server import Handler, Hub

_ATTRIBUTES = "*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
_FRONT = re.compile(r"\A---\r?\n(.*?)\r?\n---(?:\r?\n|\Z)", re.DOTALL)


def elsewhere(handler: Handler, path: str) -> None:
    """Paths that are not those of one repository."""
    answers = {
        ("GET", "/api/whoami-v2"): _whoami,
        ("POST", "/api/validate-yaml"): _validate,
        ("POST", "/api/repos/create"): _create,
        ("DELETE", "/api/repos/delete"): _delete,
        ("POST", "/lfs/verify"): _verify,
    }
    if answer := answers.get((handler.command, path)):
        if _may_write(handler):
            answer(handler)
    elif handler.command == "PUT" and path.startswith(("/lfs/upload/", "/lfs/part/")):
        _receive(handler, path.removeprefix("/lfs/").partition("/")[2].replace("/", "-"))
    elif handler.command == "POST" and path.startswith("/lfs/complete/"):
        _complete(handler, path.rpartition("/")[2])
    else:
        handler.refuse(404, "", "Not found")


def of_repository(handler: Handler, name: str, what: str | None, rest: str) -> None:
    """``POST /api/models/OWNER/NAME/…``."""
    if not _may_write(handler):
        return
    repository = handler.hub.known.get(name)
    if repository is None:
        handler.refuse(404, "RepoNotFound", "Repository not found")
    elif what == "preupload":
        _preupload(handler, repository, rest)
    elif what == "commit":
        _commit(handler, name, repository, rest)
    elif what == "branch":
        _branch(handler, repository, rest)
    else:
        handler.refuse(404, "", "Not found")


def _may_write(handler: Handler) -> bool:
    if handler.token is None:
        handler.refuse(401, "", "Invalid username or password.")
    return handler.token is not None


def _whoami(handler: Handler) -> None:
    assert handler.token is not None
    name = handler.hub.tokens[handler.token]
    access = {"type": "access_token", "accessToken": {"displayName": "tests", "role": "write"}}
    about = {"type": "user", "id": "1", "name": name, "fullname": name, "orgs": []}
    handler.json({**about, "email": None, "isPro": False, "auth": access})


def _validate(handler: Handler) -> None:
    """Say what the hub would of a card: its metadata is a mapping, and names a licence as
    identifiers are written."""
    import yaml

    match = _FRONT.match(json.loads(handler.body())["content"])
    warnings = [] if match else [{"message": "empty or missing yaml metadata in repo card"}]
    errors = []
    try:
        metadata = yaml.safe_load(match[1]) if match else {}
        if not isinstance(metadata, dict):
            errors.append({"message": "the metadata is no mapping"})
        elif not re.fullmatch(r"[a-z0-9.\-]+", str(metadata.get("license", "other"))):
            errors.append({"message": '"license" must be one of the identifiers'})
    except yaml.YAMLError as error:
        errors.append({"message": str(error)})
    handler.json({"errors": errors, "warnings": warnings}, code=400 if errors else 200)


def _create(handler: Handler) -> None:
    asked = json.loads(handler.body())
    assert handler.token is not None
    owner = asked.get("organization") or handler.hub.tokens[handler.token]
    kind = asked.get("type") or "model"
    name = f"{owner}/{asked['name']}" if kind == "model" else f"{kind}s/{owner}/{asked['name']}"
    answer = {"url": f"{handler.hub.url}/{name}", "name": f"{owner}/{asked['name']}"}
    if owner != handler.hub.tokens[handler.token]:
        handler.refuse(403, "", f"You don't have the rights to create a {kind} under {owner}")
    elif name in handler.hub.known:
        error = f"You already created this {kind} repo"
        handler.json({**answer, "error": error}, code=409, headers={"X-Error-Message": error})
    else:
        handler.hub.known[name] = Repository()
        folder = handler.hub.folder / "commits" / name / "first"
        folder.mkdir(parents=True)
        (folder / ".gitattributes").write_text(_ATTRIBUTES)
        _add(handler.hub.known[name], folder, "main")
        handler.json(answer)


def _delete(handler: Handler) -> None:
    asked = json.loads(handler.body())
    kind = asked.get("type") or "model"
    plain = f"{asked['organization']}/{asked['name']}"
    handler.hub.known.pop(plain if kind == "model" else f"{kind}s/{plain}", None)
    handler.json({})


def _preupload(handler: Handler, repository: Repository, revision: str) -> None:
    commit = repository.commit(revision)
    if commit is None:
        handler.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return
    files = handler.hub.reader.files(repository.commits[commit])
    answers: list[dict[str, Any]] = []
    for file in json.loads(handler.body())["files"]:
        path = file["path"]
        large = is_large(path, file["size"])
        old = {"oid": files[path].oid} if path in files else {}
        mode = {"uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
        answers.append({"path": path, **mode, **old})
    handler.json({"files": answers, "commitOid": commit})


def batch(handler: Handler, name: str) -> None:
    """``….git/info/lfs/objects/batch``: where to upload those objects that are not there."""
    if not _may_write(handler):
        return
    if name not in handler.hub.known:
        handler.refuse(404, "RepoNotFound", "Repository not found")
        return
    objects = json.loads(handler.body())["objects"]
    answers = [_actions(handler.hub, one["oid"], one["size"]) for one in objects]
    parts = any(
        "chunk_size" in one.get("actions", {}).get("upload", {}).get("header", {})
        for one in answers
    )
    handler.json({"transfer": "multipart" if parts else "basic", "objects": answers})


def _actions(hub: Hub, oid: str, size: int) -> dict[str, Any]:
    about: dict[str, Any] = {"oid": oid, "size": size}
    if _object(hub, oid).is_file():
        return about
    signed = f"X-Amz-Signature={hub.signature}"
    header: dict[str, str] = {}
    href = f"{hub.url}/lfs/upload/{oid}?{signed}"
    if size > hub.part:
        href = f"{hub.url}/lfs/complete/{oid}?{signed}"
        count = -(-size // hub.part)
        numbers = [f"{at + 1:05}" for at in range(count)]
        parts = {number: f"{hub.url}/lfs/part/{oid}/{number}?{signed}" for number in numbers}
        header = {"chunk_size": str(hub.part), **parts}
    actions = {
        "upload": {"href": href, "header": header},
        "verify": {"href": f"{hub.url}/lfs/verify"},
    }
    return {**about, "actions": actions}


def _object(hub: Hub, name: str) -> Path:
    folder = hub.folder / "objects"
    folder.mkdir(exist_ok=True)
    return folder / name


def _signed(handler: Handler) -> bool:
    """Whether an address of an upload was signed; a token is not for such."""
    if handler.query.get("X-Amz-Signature") == [handler.hub.signature]:
        return True
    handler.refuse(403, "", "The address is not signed")
    return False


def _receive(handler: Handler, name: str) -> None:
    """Take an object, or a part of one; what was cut is thrown away."""
    if not _signed(handler):
        return
    target, count, digest = _object(handler.hub, name), handler.unread, hashlib.sha256()
    aside = target.with_name(f"{name}.{id(handler)}.coming")
    with aside.open("wb") as file:
        came = sending.receive(handler.rfile, count, file, digest.update)
    handler.unread = 0
    whole = came == count and (len(name) > 64 or digest.hexdigest() == name)
    if whole:
        aside.replace(target)
        handler.send(200, b"", {"ETag": f'"{digest.hexdigest()[:32]}"'})
    else:
        aside.unlink()
        handler.refuse(400, "", "The bytes are not those of the object")


def _complete(handler: Handler, oid: str) -> None:
    """Put the parts of an object together."""
    if not _signed(handler):
        return
    numbers = [part["partNumber"] for part in json.loads(handler.body())["parts"]]
    parts = [_object(handler.hub, f"{oid}-{number:05}") for number in numbers]
    if not all(part.is_file() for part in parts):
        handler.refuse(400, "", "A part is missing")
        return
    target, digest = _object(handler.hub, oid), hashlib.sha256()
    with target.with_suffix(".whole").open("wb") as file:
        for part in parts:
            data = part.read_bytes()
            digest.update(data)
            file.write(data)
            part.unlink()
    if digest.hexdigest() == oid:
        target.with_suffix(".whole").replace(target)
        handler.json({"success": True})
    else:
        handler.refuse(400, "", "The bytes are not those of the object")


def _verify(handler: Handler) -> None:
    asked = json.loads(handler.body())
    path = _object(handler.hub, asked["oid"])
    if path.is_file() and path.stat().st_size == asked["size"]:
        handler.json({})
    else:
        handler.refuse(404, "", "Object not found")


def _commit(handler: Handler, name: str, repository: Repository, revision: str) -> None:
    """Apply the lines of a commit to the files of a branch, or of a pull request."""
    lines = [json.loads(line) for line in handler.body().splitlines() if line]
    (header,) = (line["value"] for line in lines if line["key"] == "header")
    parent = repository.commit(revision)
    if parent is None:
        handler.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return
    if header.get("parentCommit") not in (None, parent):
        handler.refuse(412, "", "A commit has happened since. Please refresh and try again.")
        return
    operations = [line for line in lines if line["key"] != "header"]
    large = [line["value"]["oid"] for line in operations if line["key"] == "lfsFile"]
    if lacking := [oid for oid in large if not _object(handler.hub, oid).is_file()]:
        handler.refuse(400, "", f"LFS pointer pointed to a file that does not exist: {lacking[0]}")
        return
    folder = handler.hub.folder / "commits" / name / f"{len(repository.commits)}"
    shutil.copytree(repository.commits[parent], folder, copy_function=os.link)
    for line in operations:
        _apply(handler.hub, folder, line["key"], line["value"])
    branch, request = revision, {}
    if handler.query.get("create_pr") == ["1"]:
        repository.pull_requests += 1
        branch = f"refs/pr/{repository.pull_requests}"
        where = f"{handler.hub.url}/{name}/discussions/{repository.pull_requests}"
        request = {"pullRequestUrl": where}
    commit = _add(repository, folder, branch)
    address = f"{handler.hub.url}/{name}/commit/{commit}"
    handler.json({"success": True, "commitOid": commit, "commitUrl": address, **request})


def _apply(hub: Hub, folder: Path, key: str, value: dict[str, Any]) -> None:
    path = folder / PurePosixPath(value["path"])
    assert folder in path.resolve().parents
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)  # it may be a link to that of the commit before
    path.parent.mkdir(parents=True, exist_ok=True)
    if key == "file":
        path.write_bytes(base64.b64decode(value["content"]))
    elif key == "lfsFile":
        os.link(_object(hub, value["oid"]), path)


def _add(repository: Repository, folder: Path, branch: str) -> str:
    commit = hashlib.sha1(f"{folder}{branch}".encode()).hexdigest()
    repository.commits[commit] = folder
    repository.branches[branch] = commit
    return commit


def _branch(handler: Handler, repository: Repository, branch: str) -> None:
    asked = json.loads(handler.body() or b"{}")
    commit = repository.commit(asked.get("startingPoint") or "main")
    if branch in repository.branches:
        handler.refuse(409, "", f"Reference {branch} already exists")
    elif commit is None:
        handler.refuse(404, "RevisionNotFound", "Invalid rev id")
    else:
        repository.branches[branch] = commit
        handler.json({})
