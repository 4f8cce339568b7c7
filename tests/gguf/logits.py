"""Small random models of each architecture: what transformers computes, and what llama.cpp does."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from huggingface_hub.errors import StrictDataclassError

from qpipe import errors
from qpipe.gguf import arch
from qpipe.gguf.arch import views
from qpipe.gguf.arch.base import Entry
from qpipe.gguf.config import Config
from qpipe.gguf.convert import prepare
from qpipe.llamacpp.batch import Batch
from qpipe.llamacpp.context import ContextOptions, LlamaContext
from qpipe.llamacpp.model import Model
from tests.gguf import samples
from tests.gguf.arch_checkpoints import write
from tests.gguf.open_models import OPEN_MODELS

Logits = npt.NDArray[np.float32]

TOKENS = 64
WINDOW = 24  # shorter than the text
CONTEXT = 128

_COMMON: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1024,
    "max_position_embeddings": CONTEXT,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
REMOVED = object()
_DELTA_NET = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16,
    "linear_value_head_dim": 16, "num_hidden_layers": 4,
}  # fmt: skip
_MROPE = {
    "rope_parameters": {
        "rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5,
        "mrope_section": [3, 3, 2], "mrope_interleaved": True,
    }
}  # fmt: skip
_GEMMA4 = {
    "head_dim": 32, "global_head_dim": 64, "sliding_window": WINDOW, "num_hidden_layers": 6,
    "layer_types": (["sliding_attention"] * 2 + ["full_attention"]) * 2,
}  # fmt: skip
_MLA = {
    "num_key_value_heads": 4, "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 16,
    "v_head_dim": 16, "n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2,
    "moe_intermediate_size": 32, "rms_norm_eps": 1e-6,
}  # fmt: skip
_QWEN_MOE = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_GEMMA = {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": WINDOW}

# By model_type: the class, and what it has beside the common fields.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    **OPEN_MODELS,
    "llama": ("LlamaForCausalLM", {}),
    "mistral": ("MistralForCausalLM", {"head_dim": 32, "sliding_window": None}),
    "mixtral": (
        "MixtralForCausalLM", {"num_local_experts": 6, "num_experts_per_tok": 2, "head_dim": 16}
    ),
    "qwen2": ("Qwen2ForCausalLM", {}),
    "qwen3": ("Qwen3ForCausalLM", {"head_dim": 32}),
    "qwen2_moe": (
        "Qwen2MoeForCausalLM", _QWEN_MOE | {"shared_expert_intermediate_size": 48}
    ),
    "qwen3_moe": ("Qwen3MoeForCausalLM", _QWEN_MOE | {"head_dim": 32, "norm_topk_prob": True}),
    "gemma2": ("Gemma2ForCausalLM", _GEMMA | {"num_hidden_layers": 4}),
    "gemma3_text": ("Gemma3ForCausalLM", _GEMMA | {"num_hidden_layers": 7}),
    "qwen3_next": (
        "Qwen3NextForCausalLM",
        _QWEN_MOE | _DELTA_NET | {"shared_expert_intermediate_size": 48, "head_dim": 32},
    ),
    "qwen3_5_text": ("Qwen3_5ForCausalLM", _DELTA_NET | {"head_dim": 32} | _MROPE),
    "qwen3_5_moe_text": (
        "Qwen3_5MoeForCausalLM",
        _QWEN_MOE
        | _DELTA_NET
        | _MROPE
        | {"shared_expert_intermediate_size": 48, "head_dim": 32, "intermediate_size": REMOVED},
    ),
    "gpt_oss": (
        "GptOssForCausalLM",
        {
            "head_dim": 32, "num_local_experts": 6, "num_experts_per_tok": 2,
            "sliding_window": WINDOW, "num_hidden_layers": 4,
            "rope_parameters": {
                "rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4,
                "original_max_position_embeddings": 32, "truncate": True,
            },
        },
    ),
    "lfm2": (
        "Lfm2ForCausalLM",
        {
            "layer_types": ["conv", "full_attention", "conv"], "rms_norm_eps": REMOVED,
            "block_multiple_of": 32, "block_ffn_dim_multiplier": 1.3,
        },
    ),
    "lfm2_moe": (
        "Lfm2MoeForCausalLM",
        _QWEN_MOE
        | {
            "layer_types": ["conv", "full_attention", "conv"], "rms_norm_eps": REMOVED,
            "num_dense_layers": 1,
        },
    ),
    "mistral3": (
        "Mistral3ForConditionalGeneration",
        {"model_type": "mistral", "head_dim": 32, "sliding_window": None},
    ),
    "ministral3": (
        "Ministral3ForCausalLM",
        {
            "head_dim": 32,
            "rope_parameters": {
                "rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6,
                "original_max_position_embeddings": 32, "beta_fast": 32.0, "beta_slow": 1.0,
                "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1,
            },
        },
    ),
    "minimax_m2": (
        "MiniMaxM2ForCausalLM",
        {
            "head_dim": 32, "num_local_experts": 6, "num_experts_per_tok": 2, "rotary_dim": 16,
            "partial_rotary_factor": 0.5, "scoring_func": "sigmoid",
        },
    ),
    "llama4_text": (
        "Llama4ForCausalLM",
        {
            "head_dim": 32, "num_local_experts": 6, "interleave_moe_layer_step": 2,
            "intermediate_size_mlp": 128, "intermediate_size": 64, "num_hidden_layers": 4,
            "num_experts_per_tok": 1, "rope_theta": 5e5,
        },
    ),
    "deepseek_v2": (
        "DeepseekV2ForCausalLM",
        _MLA | {"num_hidden_layers": 27, "first_k_dense_replace": 25, "q_lora_rank": None},
    ),
    "deepseek_v3": (
        "DeepseekV3ForCausalLM",
        _MLA | {"first_k_dense_replace": 1, "q_lora_rank": 24, "n_group": 2, "topk_group": 1}
        | {
            "rope_parameters": {
                "rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "mscale": 1.0,
                "mscale_all_dim": 1.0, "original_max_position_embeddings": 32,
            },
        },
    ),
    "gemma4_text": (
        "Gemma4ForCausalLM",
        _GEMMA4
        | {
            "num_hidden_layers": 9, "num_kv_shared_layers": 3, "hidden_size_per_layer_input": 16,
            "layer_types": (["sliding_attention"] * 2 + ["full_attention"]) * 3,
            "vocab_size_per_layer_input": 1024, "use_double_wide_mlp": True,
            "num_global_key_value_heads": 1, "attention_k_eq_v": True,
        },
    ),
    "gemma4_moe": (
        "Gemma4ForCausalLM",
        _GEMMA4
        | {
            "model_type": "gemma4_text", "hidden_size_per_layer_input": 0,
            "enable_moe_block": True, "num_experts": 6, "top_k_experts": 2,
            "moe_intermediate_size": 32, "final_logit_softcapping": 30.0,
        },
    ),
    "gemma3n_text": (
        "Gemma3nForCausalLM",
        {
            "head_dim": 32, "sliding_window": WINDOW, "num_hidden_layers": 25,
            "num_kv_shared_layers": 5, "intermediate_size": 1024, "laurel_rank": 64,
            "vocab_size_per_layer_input": 1000,
        },
    ),
    "phi4_mini": (
        "Phi3ForCausalLM",
        {
            "model_type": "phi3", "original_max_position_embeddings": TOKENS // 2,
            "max_position_embeddings": 4 * TOKENS, "pad_token_id": 0, "rope_parameters": {
                "rope_type": "longrope", "rope_theta": 1e4, "partial_rotary_factor": 0.75,
                "short_factor": [1 + i / 8 for i in range(6)],
                "long_factor": [2 + i / 4 for i in range(6)],
            },
        },
    ),
    "phi3": ("Phi3ForCausalLM", {"original_max_position_embeddings": CONTEXT, "pad_token_id": 0}),
}  # fmt: skip

# Mean difference in standard deviations of the logits: float32 sums in another order, and in the
# Gemmas ggml's table of GELU in half precision.
# In Gemma 3n ggml divides the variance of n activations by n - 1, transformers by n.
TOLERANCE = (
    {"deepseek_v2": 1e-4, "gemma3n_text": 3e-2}
    | dict.fromkeys(("gemma2", "gemma3_text"), 3e-4)
    | dict.fromkeys(("gemma4_text", "gemma4_moe"), 3e-3)
)  # attention without a scale is sharp


def fields_of(model: str) -> dict[str, Any]:
    """config.json of the unedited model."""
    name, own = MODELS[model]
    fields = {"architectures": [name], "model_type": model} | _COMMON | own
    return {key: value for key, value in fields.items() if value is not REMOVED}


def checkpoint(folder: Path, fields: Mapping[str, Any], *, shaped: Mapping[str, Any]) -> Path:
    """A checkpoint with ``fields`` as its config and random weights, of the shapes and names that
    ``shaped``, another config, asks for."""
    entries = entries_of(shaped)
    write(folder, shaped, {}, dtype="F32")
    random = np.random.RandomState(5)
    tensors = {}
    for name, entry in entries.items():
        centre = 0.0 if entry.spec.compute is views.plus_one else 1.0
        weights = _weights(random, name, entry.shape, centre=centre)
        tensors[name] = ("F32", entry.shape, weights.astype("<f4").tobytes())
    samples.write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(fields))
    return folder


def entries_of(fields: Mapping[str, Any]) -> dict[str, Entry]:
    """The tensors that a checkpoint must have; raises `CheckpointError`."""
    given = Config(Path("config.json"), fields)
    architecture = arch.of(given)
    config, _ = architecture.completed(given)
    dims = architecture.dims(config, ())
    expected = architecture.laid_out(()).expected(dims, config)
    return {name: entry for name, entry in expected if not entry.spec.optional}


def _weights(
    random: np.random.RandomState, name: str, shape: tuple[int, ...], *, centre: float
) -> npt.NDArray[np.float64]:
    """Weights by which attention is sharp and logits are of some size."""
    drawn: npt.NDArray[np.float64] = random.standard_normal(shape)
    if len(shape) == 1:
        around = centre if name.endswith(("norm.weight", "_scalar", "_scale")) else 0.0
        return drawn * 0.2 + around
    outer = {"embed_tokens": 1.0, "lm_head": 1.5}
    scale: float = outer.get(name.split(".")[-2], 2.0 / math.sqrt(shape[1]))
    return drawn * scale


@dataclass(frozen=True)
class Verdict:
    """``kind``: refused (``text`` is the message), noted (``text`` the notes), equal, different,
    or unknown where transformers has no such model (``text`` says why)."""

    kind: str
    text: str = ""
    difference: float = 0.0


# What transformers raises for a config that it has no model of.
_NO_MODEL = (
    *(ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError),
    *(AssertionError, StrictDataclassError),
)


class Bench:
    """Compares edited configs in one folder, by one process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        self.unedited: tuple[str, Path] | None = None  # the last model's

    def verdict(
        self, model: str, edits: Mapping[str, Any], *, shaped: Mapping[str, Any] | None = None
    ) -> Verdict:
        """What becomes of ``model`` with ``edits`` in its config; `REMOVED` takes a field away.

        Its weights have the shapes of the config with ``shaped``, or of the unedited one where
        that is None or cannot be.
        """
        self.count += 1
        fields = edited(fields_of(model), edits)
        weights = edited(fields_of(model), shaped or {})
        try:
            entries_of(weights)
        except errors.CheckpointError:
            weights = fields_of(model)
        folder = self.folder / f"{self.count}"
        if weights == fields_of(model):
            _link(self._unedited(model), folder, fields)
        else:
            checkpoint(folder, fields, shaped=weights)
        try:
            return _compared(folder, model, fields)
        finally:
            shutil.rmtree(folder)

    def _unedited(self, model: str) -> Path:
        """The checkpoint of a model as it is: made once for all edits that leave its weights."""
        if self.unedited is None or self.unedited[0] != model:
            if self.unedited is not None:
                shutil.rmtree(self.unedited[1])
            fields = fields_of(model)
            self.unedited = model, checkpoint(self.folder / model, fields, shaped=fields)
        return self.unedited[1]


def _link(source: Path, folder: Path, fields: Mapping[str, Any]) -> None:
    """``source`` with another config.json, and its files for the rest."""
    folder.mkdir()
    for path in source.iterdir():
        if path.name != "config.json":
            (folder / path.name).hardlink_to(path)
    (folder / "config.json").write_text(json.dumps(fields))


def edited(fields: Mapping[str, Any], edits: Mapping[str, Any]) -> dict[str, Any]:
    """``fields`` with ``edits``."""
    return {k: v for k, v in (dict(fields) | dict(edits)).items() if v is not REMOVED}


def _compared(folder: Path, model: str, fields: Mapping[str, Any]) -> Verdict:
    out = folder / "model.gguf"
    try:
        prepared = prepare(folder, outtype="F32")
        prepared.write(out)
    except errors.CheckpointError as error:
        return Verdict("refused", str(error))
    tokens = np.random.RandomState(0).randint(3, 900, TOKENS).astype(np.int32)
    if any("'dynamic'" in note for note in prepared.notes):
        tokens = tokens[: fields["max_position_embeddings"]]
    try:
        theirs = transformers_logits(folder, tokens)
    except _NO_MODEL as error:
        return Verdict("unknown", f"{type(error).__name__}: {error}")
    ours = llama_cpp_logits(out, tokens)
    same = len(tokens)
    if any("sliding_window " in note for note in prepared.notes):
        same = min(same, fields.get("sliding_window", 4096))
    difference = float(np.abs(ours - theirs)[:same].mean() / theirs.std())
    if not difference <= TOLERANCE.get(model, 2e-5):
        return Verdict("different", "; ".join(prepared.notes), difference)
    return Verdict("noted" if prepared.notes else "equal", "; ".join(prepared.notes), difference)


def transformers_logits(
    folder: Path, tokens: npt.NDArray[np.int32], *, model_class: str = "AutoModelForCausalLM"
) -> Logits:
    """Logits [tokens, vocabulary] in float32, every weight of the checkpoint in its place."""
    import torch
    import transformers
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded: Any = getattr(transformers, model_class).from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
        model, info = loaded
        if info["missing_keys"] or info["mismatched_keys"]:
            raise ValueError(f"weights are missing: {info}")
        with torch.no_grad():
            given = torch.tensor(tokens[None].astype(np.int64))
            logits: Logits = model.eval()(given).logits[0].numpy()
    return logits


def llama_cpp_logits(path: Path, tokens: npt.NDArray[np.int32]) -> Logits:
    """Logits [tokens, vocabulary] with a KV cache in float32."""
    n = len(tokens)
    options = ContextOptions(
        n_ctx=n, threads=1, n_batch=n, n_ubatch=n,
        type_k="f32", type_v="f32", flash_attention="off",
    )  # fmt: skip
    batch = Batch(tokens, positions=np.arange(n), sequences=np.zeros(n), outputs=np.ones(n))
    with Model(path) as model, LlamaContext(model, options) as context:
        return np.array(context.decode(batch), np.float32)
