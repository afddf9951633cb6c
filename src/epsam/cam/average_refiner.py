"""What map refiners have in common that start from the paper's average over rotations (Eq. 3)."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from epsam.cam.protocol import PredictMaps
from epsam.cam.rotation import RotationAverage
from epsam.config.masks import MaskRule, rule_before_refiner


@dataclass(frozen=True)
class AverageRefiner(ABC):
    """A `StagedRefiner` of averaged maps: they are stored, and a refiner with other settings starts
    from them.
    """

    rule: MaskRule

    @property
    def base_rule(self) -> MaskRule:
        """See `StagedRefiner`."""
        return rule_before_refiner(self.rule)

    @abstractmethod
    def improve(self, images: Tensor, maps: Tensor) -> Tensor:
        """See `StagedRefiner`."""

    def __call__(self, predict: PredictMaps, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `MapRefiner`."""
        probabilities, maps = self._average(predict, images)
        return probabilities, self.improve(images, maps)

    def refine(self, predict: PredictMaps, images: Tensor, maps: Tensor) -> Tensor:
        """See `MapRefiner`."""
        return self.improve(images, self._average.refine(predict, images, maps))

    @property
    def _average(self) -> RotationAverage:
        return RotationAverage(self.rule.rotations)
