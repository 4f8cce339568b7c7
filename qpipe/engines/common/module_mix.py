"""`quantize.target` of a checkpoint: bits and groups of each module, as rules for the engine."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from qpipe.engines.common.checkpoint_files import quantizable
from qpipe.engines.common.method_params import MixedParams
from qpipe.engines.common.module_rules import ModuleRule, resolve
from qpipe.errors import RecipeError
from qpipe.stages.base import Order, Preview

if TYPE_CHECKING:
    from qpipe.mix.budget import MixChoice, Surroundings
    from qpipe.mix.module_groups import PackedForm
    from qpipe.mix.running import Running
    from qpipe.mix.sensitivity import Sensitivity
    from qpipe.mix.target import MixTarget
    from qpipe.sizes.of_packed import Packing
    from qpipe.sizes.predicted import PredictedSize

SENSITIVITY = "sensitivity"
"""The role of the artifact with the losses."""

RUNTIME = "vllm"

_ParamsT = TypeVar("_ParamsT", bound=MixedParams)


@dataclass(frozen=True)
class ModuleMix:
    """The settings of a mix: ``bits`` and ``group_size`` of most modules, and ``modules``, rules of
    the others; ``rules`` are the same for people; ``size`` is predicted."""

    bits: int
    group_size: int
    modules: Mapping[str, ModuleRule]
    rules: list[tuple[str, dict[str, int]]]
    note: str
    size: PredictedSize

    def given_to(self, params: _ParamsT) -> _ParamsT:
        """Parameters that say the same without a target."""
        own = {"bits": self.bits, "group_size": self.group_size, "modules": self.modules}
        return params.model_copy(update={**own, "target": None})


def chosen(params: Any, order: Order) -> ModuleMix | None:
    """The mix for the target of ``params``; None where it has none.

    Raises RecipeError for a target that no mix keeps.
    """
    if getattr(params, "target", None) is None:
        return None
    if SENSITIVITY not in order.inputs:
        raise RecipeError(
            "quantize.target needs to know what each module loses: wire a stage "
            "`module_sensitivity` to needs.sensitivity, as quantize=gptq does"
        )
    from qpipe.mix.sensitivity import Sensitivity

    sensitivity = Sensitivity.load(order.inputs[SENSITIVITY])
    return _Chooser(params, order.inputs["model"], sensitivity).mix()


def settled(params: Any, order: Order) -> Any:
    """The parameters with the bits and groups of their target in its place; where the losses are
    not measured yet, with none that shapes could refuse. Raises RecipeError as `chosen`."""
    if getattr(params, "target", None) is None:
        return params
    if SENSITIVITY in order.coming:
        preview(params, order)
        return params.model_copy(update={"group_size": -1})
    mix = chosen(params, order)
    assert mix is not None, params
    return mix.given_to(params)


def preview(params: Any, order: Order) -> Preview | None:
    """About the size that a target allows, of modules whose losses are not measured yet."""
    target: MixTarget = params.target
    rooms = [] if target.size is None else [target.size]
    folder = order.inputs.get("model") or getattr(order.configs.get("model"), "parent", None)
    weights: dict[str, Any] = {}
    if folder is not None:
        from qpipe.sizes.predict import predict

        whole = predict(folder, {"method": "none", "dtype": "bf16"})
        _require_reachable(params, folder, whole)
        weights = {"weights": whole.weights}
        rooms.append(_everywhere(params, folder, max(params.MIXED_BITS)).file_bytes)
        if target.bpw is not None:
            rooms.append(round(whole.weights * target.bpw / 8))
        if target.memory is not None:
            running = _running(folder, target)
            rooms.append(running.most - running.around.total)
    if not rooms:
        return None
    facts = {"format": "mix", "size_bytes": min(rooms), **weights}
    if weights:
        facts["bits_per_weight"] = 8 * min(rooms) / weights["weights"]
    return Preview(facts, {}, at_most=True, about=True)


def _require_reachable(params: Any, folder: Path, whole: PredictedSize) -> None:
    """Raise RecipeError for a target below all that an engine could make of a model, whatever it
    loses: before that is measured."""
    target: MixTarget = params.target
    least = _everywhere(params, folder, min(params.MIXED_BITS))
    running = None if target.memory is None else _running(folder, target)

    def words(size: PredictedSize) -> str:
        memory = ""
        if running is not None:
            memory = f", {running.parts(size.tensors).total:,} bytes of memory"
        return f"{size.file_bytes:,} bytes ({size.bits_per_weight:.2f} bits per weight{memory})"

    below = (target.size is not None and target.size < least.tensor_bytes) or (
        target.bpw is not None and target.bpw < least.bits_per_weight
    )
    if below or (running is not None and running.most < running.parts(least.tensors).total):
        raise RecipeError(
            f"quantize.target: {target.words}: no mix keeps it: with {min(params.MIXED_BITS)} bits "
            f"everywhere the model takes {words(least)}, as it is {words(whole)}; ask for more, or "
            "take a smaller model" + (", or less context" if running is not None else "")
        )


def _everywhere(params: Any, folder: Path, bits: int) -> PredictedSize:
    """The checkpoint with so many bits in all modules, with one scale for a row."""
    from qpipe.sizes.predict import predict

    fields = {"method": params.method, "engine": params.engine, "group_size": -1}
    return predict(folder, {**fields, "bits": bits})


def _running(folder: Path, target: MixTarget) -> Running:
    """Raises RecipeError where the weights have no room."""
    from qpipe.memory import geometry
    from qpipe.mix.running import Running

    running = Running.of(geometry(folder), target, runtime=RUNTIME)
    running.require_room()
    return running


class _Chooser:
    """The mixes of one checkpoint by one engine."""

    def __init__(self, params: MixedParams, folder: Path, sensitivity: Sensitivity) -> None:
        from qpipe.mix.module_groups import grouped
        from qpipe.sizes.methods import PACKINGS
        from qpipe.sizes.settings import Settings
        from qpipe.sizes.source import ModelSource

        assert params.target is not None, params
        self.params, self.folder, self.target = params, folder, params.target
        self.sensitivity = sensitivity
        shapes = quantizable(folder)
        self.ruled = resolve(params.modules, shapes)
        settings = Settings(self._fields({}))
        self.packing: Packing = PACKINGS[params.method](ModelSource.of(folder), settings)
        self.shapes = {
            name: shape
            for name, shape in shapes.items()
            if name not in self.ruled and not self.packing.left(name, *shape)
        }
        self.groups = {
            group: [name for name in members if name in self.shapes]
            for group, members in grouped(shapes).items()
            if any(name in self.shapes for name in members)
        }
        if unknown := [group for group in self.groups if group not in sensitivity.tensors]:
            raise RecipeError(
                f"quantize.target: {unknown[0]} is not among what was measured; the artifact in "
                "needs.sensitivity is another model's"
            )

    def mix(self) -> ModuleMix:
        """Raises RecipeError for a target that no mix keeps."""
        from qpipe.mix.budget import Budget
        from qpipe.mix.choosing import noted
        from qpipe.mix.module_groups import PackedForm, compact

        groups = {name: self._forms(name) for name in self.groups}
        around = self._around({name: [*forms][-1] for name, forms in groups.items()})
        choice = Budget(groups, around, self.sensitivity.whole).choose(self.target)
        forms = {
            name: PackedForm.named(choice.forms[group])
            for group, members in self.groups.items()
            for name in members
        }
        base = self._commonest(choice)
        rules = {
            rf"^{re.escape(name)}$": _rule(form) for name, form in forms.items() if form != base
        }
        note = noted(choice, self.target, around.running, "bits and groups")
        return ModuleMix(
            base.bits,
            base.group_size,
            {**self.params.modules, **rules},
            [(pattern, _rule(form).wishes) for pattern, form in compact(forms, base)],
            f"{note}; losses were measured of weights rounded to the nearest",
            self._predicted(forms),
        )

    def _forms(self, group: str) -> dict[str, Any]:
        """The forms that an engine can give a group, the smallest first."""
        from qpipe.mix.budget import FormCost
        from qpipe.mix.module_groups import PackedForm
        from qpipe.sizes.module_rules import ModuleWish
        from qpipe.sizes.of_packed import nbytes

        shapes = [self.shapes[name] for name in self.groups[group]]
        forms = {}
        for name, one in self.sensitivity.tensors[group].types.items():
            form = PackedForm.named(name)
            if not self.params.can_mix(form.bits, form.group_size, shapes):
                continue
            wish = ModuleWish(bits=form.bits, group_size=form.group_size)
            size = sum(
                nbytes(part) for shape in shapes for part in self.packing.layout(*shape, wish)
            )
            forms[name] = FormCost(size, size, one.kld)
        if not forms:
            raise RecipeError(
                f"quantize.target: {group} was measured in no form that engine "
                f"{self.params.engine} can give it: stages.sensitivity.with.bits and group_sizes "
                f"have to hold one of its own (bits {', '.join(map(str, self.params.MIXED_BITS))})"
            )
        return dict(sorted(forms.items(), key=lambda each: each[1].file_bytes))

    def _around(self, largest: Mapping[str, str]) -> Surroundings:
        """The rest of the checkpoint, by that of the largest forms, with the longest header."""
        from qpipe.mix.budget import Surroundings
        from qpipe.mix.module_groups import PackedForm
        from qpipe.sizes.tensors import labelled

        size = self._predicted(
            {
                name: PackedForm.named(largest[group])
                for group, members in self.groups.items()
                for name in members
            }
        )
        own = {label for n in self.shapes for label in (f"{n}.weight", labelled(f"{n}.weight"))}
        others = {name: nbytes for name, nbytes in size.tensors.items() if name not in own}
        running = _running(self.folder, self.target) if self.target.memory is not None else None
        return Surroundings(
            size.file_bytes - size.tensor_bytes + sum(others.values()),
            others,
            size.weights,
            running,
            settings="stages.sensitivity.with.bits and group_sizes",
        )

    def _commonest(self, choice: MixChoice) -> PackedForm:
        """The form that most weights have."""
        from qpipe.mix.module_groups import PackedForm

        weights: dict[str, int] = {}
        for group, form in choice.forms.items():
            own = sum(math.prod(self.shapes[name]) for name in self.groups[group])
            weights[form] = weights.get(form, 0) + own
        return PackedForm.named(max(weights, key=lambda form: weights[form]))

    def _predicted(self, forms: Mapping[str, PackedForm]) -> PredictedSize:
        from qpipe.sizes.predict import predict

        return predict(self.folder, self._fields(forms))

    def _fields(self, forms: Mapping[str, PackedForm]) -> dict[str, Any]:
        """The fields of a recipe with a rule for each module."""
        from qpipe.sizes.known_fields import FIELDS

        fields = {
            name: value
            for name, value in self.params.model_dump(mode="json").items()
            if name in FIELDS[self.params.method] and value is not None
        }
        fields.pop("target", None)
        own = [[rf"^{re.escape(name)}$", _rule(form).model_dump()] for name, form in forms.items()]
        return {**fields, "modules": [*fields.get("modules", []), *own]}


def _rule(form: PackedForm) -> ModuleRule:
    return ModuleRule(bits=form.bits, group_size=form.group_size)
