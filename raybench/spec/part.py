"""Base class of the parts of a stored spec."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class SpecPart(BaseModel):
    """A part of a stored spec."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    later_keys: ClassVar[tuple[str, ...]] = ()
    """Keys of later versions, omitted if unset: such specs keep the form and digest of earlier versions."""

    @model_serializer(mode="wrap")
    def _without_unset_keys(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if key not in self.later_keys or value}
