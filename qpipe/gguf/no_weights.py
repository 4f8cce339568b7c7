"""What a folder without a model's weights holds instead, and how to go on from there.

By names alone: those of files, and of folders in it.
"""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatch

from qpipe.gguf.weight_files import INDEX, SINGLE

_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
# What a training leaves beside a model, pickled too.
_LEFT = ("training_args.bin", "optimizer*", "scheduler*", "rng_state*", "scaler.pt")
_TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")

# By names of which one is enough, first to last: what there is, as half a sentence on the file
# {name}, and what to do.
_KINDS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("adapter_model.*", "adapter_config.json"),
        "holds an adapter (LoRA: {name}) and not the model that it belongs to: merge it into its "
        "base model (peft: AutoPeftModelForCausalLM.from_pretrained(FOLDER).merge_and_unload()"
        ".save_pretrained(OTHER), and the base model's tokenizer beside it) and give that folder",
    ),
    (
        ("model_index.json",),
        "holds a pipeline of diffusers ({name}), whose models lie in folders of their own: a "
        "language model's is mostly text_encoder; give that folder",
    ),
    (
        ("consolidated*.safetensors", "consolidated*.pth"),
        "holds {name} alone, which is Mistral's or Meta's own layout: give the same model's "
        "model*.safetensors, as its repository has them for transformers, or convert it (Meta's: "
        "transformers.models.llama.convert_llama_weights_to_hf)",
    ),
    (
        ("weights.npz", "weights.*.npz", "weights.safetensors"),
        "holds {name}, MLX's weights, whose names and packing are MLX's own: give the model that "
        "it was converted from",
    ),
    (
        ("sha256-" + "?" * 64, "blobs/sha256-*"),
        "holds blobs of Ollama ({name}), named by what is in them: `ollama show --modelfile MODEL` "
        "says which one is the model (FROM); give that file under a name that ends in .gguf "
        "(ln -s BLOB model.gguf)",
    ),
    (
        ("manifests",),
        "holds a library of Ollama ({name}): `ollama show --modelfile MODEL` says which of its "
        "blobs is the model (FROM); give that file under a name that ends in .gguf",
    ),
    (
        ("pytorch_model*.bin",),
        "holds its weights as {name}, a pickle, which is read by running it: set "
        "model.allow_pickle=true (of a repository with its exact commit as model.revision; of "
        "run.reference run.allow_pickle=true), and qpipe reads its tensors alone; or give the same "
        "model as safetensors, which `qpipe attest` takes alone",
    ),
    (
        _PICKLED,
        "holds its weights as {name}, a pickle, which is read by running it: convert {name} to "
        "safetensors (transformers: AutoModelForCausalLM.from_pretrained(FOLDER)"
        ".save_pretrained(OTHER)) and give that folder",
    ),
    (
        ("modules.json",),
        "holds a model of sentence-transformers ({name}) without weights beside it: give the "
        "folder of its first module, as 0_Transformer",
    ),
    (
        ("*.h5", "*.msgpack", "*.tflite", "saved_model.pb"),
        "holds {name}, which is TensorFlow's or Flax's, and no safetensors: give the model's "
        "PyTorch version as safetensors (transformers: from_pretrained(FOLDER, from_tf=True or "
        "from_flax=True), then save_pretrained)",
    ),
    (
        ("*.onnx", "onnx", "onnx/*"),
        "holds {name}, a model as ONNX, and no safetensors: give the checkpoint that it was "
        "exported from",
    ),
)


def is_known(names: Collection[str]) -> bool:
    """True if these are the names of something that is, or was meant as, a model."""
    return "config.json" in names or _kind(names) is not None or _is_tokenizer(names)


def instead(names: Collection[str]) -> str:
    """Say what a folder without weights of its own holds, and what to do about it."""
    if models := sorted(name for name in names if name.endswith(".gguf")):
        shown = ", ".join(models[:3]) + (", …" if models[3:] else "")
        several = "give one of these files" if models[1:] else "give that file"
        return f"holds no safetensors, but GGUF ({shown}): {several}"
    if (kind := _kind(names)) is not None:
        return kind
    if INDEX in names:
        return f"holds {INDEX}, and none of the files that it names: download the checkpoint again"
    if name := _first(names, "*.safetensors"):
        return (
            f"holds {name}, and neither {SINGLE} nor {INDEX}: if these are the model's weights, "
            f"rename the file to {SINGLE}"
        )
    if not names:
        return "is empty: give the folder, file or repository with the model"
    if _is_tokenizer(names) and "config.json" not in names:
        return "holds a tokenizer alone, and no model: give the folder with its weights"
    if is_known(names):
        return f"holds no weights: no {SINGLE} and no {INDEX}; download the checkpoint again"
    shown = ", ".join(sorted(names)[:3]) + (", …" if len(names) > 3 else "")
    return f"holds no model, but {shown}: give the folder, file or repository with the model"


def _kind(names: Collection[str]) -> str | None:
    for patterns, words in _KINDS:
        if name := _first(names, *patterns):
            return words.format(name=name)
    return None


def _is_tokenizer(names: Collection[str]) -> bool:
    return not {*_TOKENIZER}.isdisjoint(names)


def _first(names: Collection[str], *patterns: str) -> str | None:
    candidates = sorted(n for n in names if not any(fnmatch(n, left) for left in _LEFT))
    return next((n for p in patterns for n in candidates if fnmatch(n, p)), None)
