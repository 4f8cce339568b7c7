"""The settings of a guided sweep (hydra/sweeper=qpipe_pareto), and what a recipe must be for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qpipe.errors import RecipeError
from qpipe.recipe.divergences import is_divergence
from qpipe.recipe.draft import GuideDraft, JobDraft
from qpipe.recipe.schema import ByteSize

AT = "hydra.sweeper"


class GuideSpec(BaseModel):
    """The question of a guided sweep, and how sure the answer is to be."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    find: Literal["front", "smallest", "best"] = Field(
        "front",
        description=(
            "front: every level that no other beats in both size and kld. smallest: the smallest"
            " with a kld of at most max_kld. best: the one with the least kld of at most max_size."
        ),
    )
    max_size: ByteSize | None = Field(
        None,
        gt=0,
        description="The most bytes of a model, as 3.5GB. A larger level is not measured.",
    )
    max_kld: float | None = Field(
        None, gt=0, description="The most KL divergence from the reference, in nats a token."
    )
    confidence: float = Field(
        0.95,
        ge=0.5,
        lt=1,
        description="How sure the answer as a whole is to be that of the whole text.",
    )
    first: int = Field(
        16, ge=8, description="Windows of the text that every level takes in the first round."
    )
    whole: bool = Field(
        False,
        description=(
            "true: what is found is measured on the whole text, with the figures of a plain sweep."
        ),
    )

    @model_validator(mode="after")
    def _with_bound(self) -> GuideSpec:
        if self.find == "smallest" and self.max_kld is None:
            raise ValueError("find=smallest looks for the smallest level that is good enough: "
                             "say how good, such as hydra.sweeper.max_kld=0.01")  # fmt: skip
        return self


def guide(settings: Mapping[str, Any]) -> GuideDraft:
    """The settings checked. Raises RecipeError, which names the field."""
    given = {name: settings[name] for name in GuideSpec.model_fields if name in settings}
    try:
        spec = GuideSpec.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([AT, *map(str, first["loc"])])
        words = first["msg"].removeprefix("Value error, ")
        value = "" if not first["loc"] else f"={first['input']}"
        raise RecipeError(f"{where}{value}: {words[0].lower()}{words[1:]}") from None
    return GuideDraft(
        find=spec.find,
        max_size=spec.max_size,
        max_kld=spec.max_kld,
        confidence=spec.confidence,
        first=spec.first,
        whole=spec.whole,
    )


def require_guidable(jobs: Sequence[JobDraft], *, asked: int) -> None:
    """Raise RecipeError for jobs that a guided sweep cannot compare."""
    if asked < 2:
        raise RecipeError(
            "hydra/sweeper=qpipe_pareto: the sweep has one job, and a level is compared with "
            "others: give several, such as -m quantize.type=Q8_0,Q6_K,Q4_K_M"
        )
    for job in jobs:
        divergences = [s for s in job["stages"] if is_divergence(s["stage"], s["params"])]
        if len(divergences) != 1:
            there = f"has {len(divergences)}" if divergences else "measures none"
            raise RecipeError(
                "hydra/sweeper=qpipe_pareto compares levels by their KL divergence, and job "
                f"{' '.join(job['varying'].values()) or 'of this sweep'} {there}: "
                "evaluate=kld adds one"
            )
        if job["levels"]:
            raise RecipeError(
                "evaluate.stop_dominated=true with hydra/sweeper=qpipe_pareto: both end levels "
                "that a smaller one beats; leave evaluate.stop_dominated out"
            )
        if divergences[0]["params"].get("precision") != "full":
            raise RecipeError(
                f"evaluate.precision={divergences[0]['params'].get('precision')} with "
                "hydra/sweeper=qpipe_pareto: both say how many windows are enough; leave "
                "evaluate.precision out"
            )
