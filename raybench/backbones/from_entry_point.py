"""Backbones built by a function that their row names: networks of one's own, outside timm."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from raybench.backbones.backbone import Backbone, Features, Images
from raybench.backbones.feature_spec import FeatureSpec
from raybench.catalog.backbone_info import BackboneInfo
from raybench.catalog.backbones import BACKBONES
from raybench.core.errors import CheckpointError
from raybench.core.registry import load_entry_point


class ModuleBackbone(Backbone):
    """An `nn.Module` from normalised images [b, 3, s, s] to features [b, d], d in its `num_features`."""

    @classmethod
    def create(cls, info: BackboneInfo, kwargs: Mapping[str, Any], *, pretrained: bool) -> nn.Module:
        """Call the entry point with `pretrained` and the row's own `kwargs`.

        Raises:
            CheckpointError: the entry point belongs to no installed row (a stored spec must not run code), or
                gives something else than a module with `num_features`.
        """
        if info.entry_point not in {row.entry_point for row in BACKBONES.values()}:
            raise CheckpointError(
                f"backbone {info.name!r} is built by {info.entry_point!r}, which no installed backbone row "
                "names; install the package that adds it."
            )
        model = load_entry_point(info.entry_point)(pretrained=pretrained, **info.kwargs)
        if not isinstance(model, nn.Module) or not isinstance(getattr(model, "num_features", None), int):
            raise CheckpointError(
                f"backbone {info.name!r}: {info.entry_point!r} must give a torch module with an integer "
                f"`num_features`, got a {type(model).__name__}."
            )
        return model

    @classmethod
    def classifier_names(cls, info: BackboneInfo) -> tuple[str, ...]:
        return ()

    def drop_head(self) -> None:
        """Nothing to remove: an entry point builds the network without a head."""

    @property
    def num_features(self) -> int:
        return int(self.model.num_features)

    @property
    def head(self) -> None:
        return None

    def _pooled(self, images: Images) -> Features:
        return self.model(images)

    def _extract(self, images: Images, specs: Sequence[FeatureSpec]) -> list[Features]:
        for spec in specs:
            if not spec.is_pooled_output:
                raise CheckpointError(
                    f"{self.info.name!r} gives its pooled output only, not {spec.name!r}; take layer 0, "
                    "pooling 'pooled'."
                )
        return [self._pooled(images)] * len(specs)
