"""A local folder of 2 GB, whose digests are known, as an artifact of the store: the command from a
cold start, and the stage alone; no byte is copied, and none is read."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

from bench.measure import Bench, Row, call, interleaved

_SHARDS, _BYTES = 4, 500 << 20
_RECIPE = """\
defaults: [config, override quantize: none, override evaluate: none, _self_]
stages: {quantize: {optional: true}}
run: {reference: null}
"""


def rows(bench: Bench) -> list[Row]:
    """Two rows, in seconds, each under one; the command beside a copy of the folder."""
    folder = bench.sub("local_source")
    model = _folder(folder / "model")
    command = [
        *(bench.qpipe, "run", _recipe(folder), f"model.source={model}", "--json"),
        *("--store", folder / "store", "--runs", folder / "runs"),
    ]
    plan = [*(bench.qpipe, "plan", *command[2:4]), *("--store", folder / "store")]
    stages: list[float] = []
    key = ""

    def ours() -> float:
        nonlocal key
        if key:
            call([bench.qpipe, "rm", key, "--store", folder / "store"], cwd=folder)
            call(
                plan, cwd=folder
            )  # removing a link changes the file's ctime: it is read again here
        began = time.perf_counter()
        (node,) = json.loads(call(command, cwd=folder))["nodes"]
        seconds = time.perf_counter() - began
        key = _as_it_should(node, model)
        manifest = json.loads(Path(node["artifact"], "manifest.json").read_bytes())
        stages.append(manifest["usage"]["seconds"])
        return seconds

    ours()  # reads every byte once, for the digests
    stages.clear()
    taken = [ours() for _ in range(bench.rounds)]
    copied = interleaved({"cp": lambda: _copy(folder, model)}, rounds=min(bench.rounds, 3))["cp"]
    size = f"{_SHARDS * _BYTES / 1e9:.1f} GB"
    what = f"a local folder of {size} as an artifact, digests known"
    return [
        Row(f"{what}: qpipe run", _median(taken), "s", limit=1.0),
        Row(f"{what}: the stage", _median(stages), "s", limit=1.0),
        Row(f"{what}: qpipe run", _median(taken), "s", "cp -r of it", copied),
    ]


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _recipe(folder: Path) -> Path:
    path = folder / "only_download.yaml"
    path.write_text(_RECIPE)
    return path


def _folder(folder: Path) -> Path:
    """A checkpoint in shards of one tensor each."""
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    names = {}
    for number in range(1, _SHARDS + 1):
        name = f"model-{number:05d}-of-{_SHARDS:05d}.safetensors"
        tensor = {"dtype": "U8", "shape": [_BYTES], "data_offsets": [0, _BYTES]}
        header = json.dumps({f"t{number}": tensor}).encode()
        with (folder / name).open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            for _ in range(_BYTES >> 20):
                file.write(bytes([number]) * (1 << 20))
        names[f"t{number}"] = name
    index = {"metadata": {}, "weight_map": names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def _as_it_should(node: dict[str, str], model: Path) -> str:
    """The key of the artifact, which was made now and holds the very files, not copies."""
    assert node["status"] == "ran", node
    for file in model.glob("*.safetensors"):
        assert Path(node["artifact"], file.name).samefile(file), f"{file} was copied"
    return node["key"]


def _copy(folder: Path, model: Path) -> None:
    target = folder / "copy"
    shutil.rmtree(target, ignore_errors=True)
    call(["cp", "-r", model, target], cwd=folder)
