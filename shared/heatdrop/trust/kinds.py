"""The kinds of map that are measured, and how their maps are made: kinds that come from one computation share it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

import keras
import numpy as np
from numpy.typing import NDArray

from heatdrop.errors import InvalidRequest
from heatdrop.model.certificate import MapKind
from heatdrop.saliency import GradientEngine, maps_by
from heatdrop.saliency.activations import ActivationMaps
from heatdrop.trust.measures import Map
from heatdrop.vocabulary import ESTIMATORS, ExplanationSettings, Method

MakeMap = Callable[[NDArray[np.float32], int], dict[MapKind, Map]]
"""(an image (H, W, C), preprocessed; a class) to its map (H, W) of each kind."""


@dataclass(frozen=True)
class MapPass:
    """One computation, and the settings of all kinds of map that come from it."""

    settings: tuple[ExplanationSettings, ...]

    @property
    def is_random(self) -> bool:
        """Whether another seed gives other maps."""
        first = self.settings[0]
        return first.method in ("integrated_gradients", "rise") or (first.method == "smoothgrad" and first.samples > 0)

    def prepare(self, model: keras.Model, engine: GradientEngine, seed: int) -> MakeMap:
        """Make ready to explain ``model``, whose gradients ``engine`` computes.

        Raises:
            InvalidRequest: the method cannot explain this model.
        """
        first = self.settings[0].model_copy(update={"seed": seed})
        estimators = tuple(settings.estimator for settings in self.settings)
        make_maps = maps_by(first, engine, lambda method: ActivationMaps(model, method).maps, estimators)

        def make(image: NDArray[np.float32], number: int) -> dict[MapKind, Map]:
            found = make_maps(image[None], np.array([[number]]))
            kinds = {MapKind.of(settings, found.score): settings.drawn for settings in self.settings}
            return {kind: found.maps[name][0, 0] for kind, name in kinds.items()}

        return make


def passes_of(wanted: Iterable[ExplanationSettings]) -> tuple[MapPass, ...]:
    """As few computations as make all ``wanted`` kinds of map: SmoothGrad's estimators come from one."""
    groups: dict[ExplanationSettings, list[ExplanationSettings]] = {}
    for settings in wanted:
        alike = settings.model_copy(update={"estimator": ESTIMATORS[0]})
        kinds = groups.setdefault(alike, [])
        if settings not in kinds:
            kinds.append(settings)
    return tuple(MapPass(tuple(kinds)) for kinds in groups.values())


def settings_of(names: Sequence[str], common: ExplanationSettings) -> tuple[ExplanationSettings, ...]:
    """The settings of the kinds of map that a person names, with the samples, noise and seed of ``common``.

    A name is that of a method, of an estimator of SmoothGrad, ``gradient`` for the gradient without noise, or ``all``.

    Raises:
        InvalidRequest: there is no such kind.
    """
    known = _known(common)
    found: list[ExplanationSettings] = []
    for name in names:
        if name != "all" and name not in known:
            raise InvalidRequest(f"there is no kind of map called {name!r}; name some of all, {', '.join(known)}")
        found += known.values() if name == "all" else [known[name]]
    return tuple(dict.fromkeys(found))


def _known(common: ExplanationSettings) -> dict[str, ExplanationSettings]:
    methods: tuple[Method, ...] = get_args(Method)
    by_method = {str(method): common.model_copy(update={"method": method}) for method in methods}
    estimators = {
        str(estimator): common.model_copy(update={"method": "smoothgrad", "estimator": estimator})
        for estimator in ESTIMATORS
    }
    plain = common.model_copy(update={"method": "smoothgrad", "estimator": "mean_abs", "samples": 0})
    return by_method | estimators | {"gradient": plain}
