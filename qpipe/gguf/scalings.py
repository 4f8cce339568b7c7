"""RoPE as a config has it: which of its fields count, and which scalings llama.cpp computes alike.

Read as by transformers 5.17.0 (modeling_rope_utils.py): ``rope_scaling`` goes before
``rope_parameters``, an option in either before the same one at the top of the config, but for
``original_max_position_embeddings``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from qpipe import errors
from qpipe.gguf.config import Config
from qpipe.gguf.config_fields import (
    OTHER_METHODS,
    Field,
    Fields,
    unknown,
)

FIELDS: Fields = dict.fromkeys(
    (
        *("rope_parameters", "rope_scaling", "rope_theta", "partial_rotary_factor"),
        "original_max_position_embeddings",
    ),
    Field(),
)

_ORIGINAL = "original_max_position_embeddings"
_LAYERED = ("full_attention", "sliding_attention")
_ALWAYS = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
_OPTIONS = {
    "default": _ALWAYS,
    "linear": _ALWAYS | {"factor"},
    "dynamic": _ALWAYS | {"factor"},
    "llama3": _ALWAYS | {"factor", "low_freq_factor", "high_freq_factor", _ORIGINAL},
    "yarn": _ALWAYS
    | {"factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim"}
    | {"truncate", "extrapolation_factor", _ORIGINAL},
    "proportional": _ALWAYS,
    "longrope": _ALWAYS | {"short_factor", "long_factor", _ORIGINAL},
}
# ggml's, which llama.cpp 0.6.0-dev takes from a file for grok and mistral3 alone
# (src/models/*.cpp).
_YARN_DEFAULTS = {"extrapolation_factor": 1.0, "beta_fast": 32.0, "beta_slow": 1.0}


@dataclass(frozen=True)
class Scalings:
    """The RoPE of an architecture.

    ``theta`` is transformers' default base frequency, ``kinds`` the scalings that are converted.
    ``local`` is the default base frequency of layers with a window where these have their own.
    ``partial`` is the default of partial_rotary_factor where others than 1 are written; ``options``
    are further ones that are handed on; ``untruncated`` says that YaRN's ends may be said not to be
    rounded, which is noted; ``read`` are options of YaRN that llama.cpp takes from a file;
    ``log_multiplier`` says that it has the attention factor from mscale_all_dim, whose mscale is 1;
    ``alpha`` that this option of ``dynamic`` stretches the base once and for all, as for texts of
    any length.
    """

    theta: float = 10000.0
    kinds: tuple[str, ...] = ("default", "linear", "dynamic", "yarn")
    local: float | None = None
    partial: float | None = None
    options: tuple[str, ...] = ()
    untruncated: bool = False
    read: tuple[str, ...] = ()
    log_multiplier: Literal["", "one", "equal"] = ""
    alpha: bool = False


def standardized(config: Config, rules: Scalings) -> tuple[Config, list[str]]:
    """``config`` with its RoPE as ``rope_parameters`` alone, and what there is to note of it.

    Raises `CheckpointError` for a scaling, or an option of one, that would be computed otherwise.
    """
    notes: list[str] = []
    if rules.local is None:
        effective, notes = _effective(config, rules)
        rope: Mapping[str, Any] = _checked(effective, config, rules, notes)
    else:
        full, local = _layered(config, rules)
        rope = {
            "full_attention": _checked(full, config, rules, notes),
            "sliding_attention": _checked(local, config, Scalings(kinds=("default",)), notes),
        }
    fields = {name: value for name, value in config.fields.items() if name != "rope_scaling"}
    return Config(config.path, fields | {"rope_parameters": rope}), notes


def check_theta(config: Config, theta: float) -> None:
    """Refuse another base frequency than the one that llama.cpp takes whatever a file says."""
    rope = config.section("rope_parameters")
    if rope.positive("rope_theta") != theta:
        raise rope.unfit("rope_theta", _always(f"{theta:g}"))


def _effective(config: Config, rules: Scalings) -> tuple[Config, list[str]]:
    """The section that counts, completed by what stands at the top of the config."""
    scaling, parameters = config.section("rope_scaling"), config.section("rope_parameters")
    section = scaling if scaling.fields else parameters
    for name in _LAYERED:
        if name in section.fields:
            raise section.bad(name, "absent: this architecture has one RoPE for all layers")
    effective = _completed(section, config, rules)
    if not (scaling.fields and parameters.fields):
        return effective, []
    other = _completed(parameters, config, rules)
    if effective.fields == other.fields:
        return effective, []
    has_theta = scaling.has("rope_theta") or config.has("rope_theta")
    if not has_theta and effective.fields["rope_theta"] != other.fields["rope_theta"]:
        raise errors.CheckpointError(
            f"{config.path}: field 'rope_scaling' stands beside 'rope_parameters', whose "
            f"rope_theta {other.fields['rope_theta']} is then lost: transformers takes "
            "rope_scaling alone; put all of it into rope_parameters"
        )
    return effective, [
        f"{config.path.name}: rope_scaling counts, rope_parameters beside it does not, as "
        "transformers reads them"
    ]


def _completed(section: Config, config: Config, rules: Scalings) -> Config:
    """``section`` with its kind, theta and original context filled in."""
    fields = dict(section.fields)
    partial = 1.0 if rules.partial is None else rules.partial
    for name, default in (("rope_theta", rules.theta), ("partial_rotary_factor", partial)):
        if name not in fields:
            fields[name] = config.fields[name] if config.has(name) else default
    fields["rope_type"] = fields.get("rope_type", fields.get("type", "default"))
    if fields["rope_type"] in ("llama3", "yarn", "longrope"):
        # At the top of the config it goes first (transformers 5.17.0, standardize_rope_params).
        nested = fields.get(_ORIGINAL, config.fields.get("max_position_embeddings"))
        fields[_ORIGINAL] = config.fields[_ORIGINAL] if config.has(_ORIGINAL) else nested
    return Config(section.path, fields)


def _layered(config: Config, rules: Scalings) -> tuple[Config, Config]:
    """The RoPE parameters of layers with full attention and of those with a window
    (Gemma3TextConfig, convert_rope_params_to_dict)."""
    parameters = config.section("rope_parameters")
    for name in parameters.fields:
        if name not in _LAYERED:
            raise parameters.bad(name, "below full_attention or sliding_attention")
    full, local = (dict(parameters.section(name).fields) for name in _LAYERED)
    full |= config.section("rope_scaling").fields
    local.setdefault("rope_theta", config.fields.get("rope_local_base_freq", rules.local))
    shared = ("rope_theta", "partial_rotary_factor")
    top = Config(config.path, {name: config.fields.get(name) for name in shared})
    return (
        _completed(Config(config.path, full), top, rules),
        _completed(Config(config.path, local), top, Scalings()),
    )


def _checked(rope: Config, config: Config, rules: Scalings, notes: list[str]) -> Mapping[str, Any]:
    """The options that are written; the rest is refused or noted."""
    kind = rope.fields["rope_type"]
    if kind not in rules.kinds:
        raise _unsupported(rope, config, rules)
    rope.positive("rope_theta")
    if rope.positive("partial_rotary_factor") != 1.0 and rules.partial is None:
        raise rope.unfit("partial_rotary_factor", _always("1.0"))
    options = _OPTIONS[kind] | set(rules.options) | ({"alpha"} if rules.alpha else set())
    notes += unknown(rope, options, f"transformers' RoPE {kind!r}")
    if kind == "yarn":
        notes += _check_yarn(rope, rules)
    elif kind == "llama3":
        _check_llama3(rope)
    elif kind == "longrope":
        for name in ("factor", "attention_factor"):
            if rope.has(name):
                raise rope.unfit(name, _always("what the lengths of the context imply"))
    elif kind in ("linear", "dynamic"):
        rope.positive("factor")
    if kind == "dynamic" and rules.alpha:
        return {"rope_type": "default", **_stretched(rope, config)}
    if kind == "dynamic":
        context = config.integer("max_position_embeddings")
        notes.append(
            f"{config.path.name}: the RoPE scaling 'dynamic' begins beyond "
            f"max_position_embeddings; llama.cpp has none, the same up to {context} tokens"
        )
        kind, options = "default", options - {"factor"}
    kept = {name: value for name, value in rope.fields.items() if name in options}
    return {**kept, "rope_type": kind}


def _stretched(rope: Config, config: Config) -> Mapping[str, Any]:
    """The base that alpha makes of rope_theta (transformers, HunYuanDenseV1RotaryEmbedding)."""
    dim, alpha = config.integer("head_dim"), rope.positive("alpha")
    theta = rope.positive("rope_theta") * alpha ** (dim / (dim - 2))
    return {"rope_theta": theta, "alpha": alpha}


def _check_yarn(rope: Config, rules: Scalings) -> list[str]:
    """Notes on it; `CheckpointError` for what would be computed otherwise."""
    factor = rope.positive("factor")
    rope.integer(_ORIGINAL)
    for name, default in _YARN_DEFAULTS.items():
        if rope.fields.get(name) and rope.positive(name) != default and name not in rules.read:
            raise rope.unfit(name, _always(f"{default:g}"))
    truncate = rope.fields.get("truncate", True)
    if truncate is not True and not (rules.untruncated and truncate is False):
        raise rope.unfit("truncate", _always("true"))
    implied = attention = _attention(factor, 1.0)
    if rules.log_multiplier and rope.has("mscale_all_dim"):
        implied /= _attention(factor, rope.positive("mscale_all_dim"))
        implied = 1.0 if rules.log_multiplier == "equal" else implied
    name = "attention_factor"
    if rope.has(name):
        attention = rope.positive(name)
    elif rope.fields.get("mscale") and rope.fields.get("mscale_all_dim"):
        name = "mscale"
        attention = _attention(factor, rope.positive(name))
        attention /= _attention(factor, rope.positive("mscale_all_dim"))
    if not math.isclose(attention, implied, rel_tol=1e-6):
        raise rope.unfit(
            name, _always(f"the attention factor {implied:.6g}, which follows from the factor")
        )
    if truncate:
        return []
    return [f"{rope.path.name}: llama.cpp rounds the ends of YaRN's ramp, whatever truncate says"]


def _attention(factor: float, mscale: float) -> float:
    """YaRN's attention factor (modeling_rope_utils.py, get_mscale)."""
    return 0.1 * mscale * math.log(factor) + 1.0 if factor > 1 else 1.0


def _check_llama3(rope: Config) -> None:
    rope.positive("factor")
    rope.integer(_ORIGINAL)
    if rope.positive("high_freq_factor") < rope.positive("low_freq_factor"):
        raise rope.bad("high_freq_factor", "at least low_freq_factor")


def _always(computation: str) -> str:
    return f"llama.cpp computes {computation} whatever a file says{OTHER_METHODS}"


def _unsupported(rope: Config, config: Config, rules: Scalings) -> errors.CheckpointError:
    return errors.CheckpointError(
        f"{config.path}: field 'rope_type' names the RoPE scaling "
        f"{errors.quoted(rope.fields['rope_type'])}, which GGUF has no place for in this "
        f"architecture (it does {', '.join(rules.kinds)}){OTHER_METHODS}"
    )
