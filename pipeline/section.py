"""A table of the TOML, as every configuration model here is one."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """A table of the TOML: unknown keys are refused, and so are infinities, and true and false where numbers stand."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, given: Any) -> Any:
        for name, value in given.items() if isinstance(given, dict) else ():
            inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
            field = cls.model_fields.get(name)
            if field and any(isinstance(one, bool) for one in inside) and not _may_hold_truth(field.annotation):
                raise ValueError(f"{name}: true and false are no value for this")
        return given


def _may_hold_truth(annotation: Any) -> bool:
    """Whether a type is bool, or holds it or a table, whose own fields are asked."""
    if isinstance(annotation, type) and issubclass(annotation, (bool, BaseModel)):
        return True
    return any(_may_hold_truth(part) for part in get_args(annotation))
