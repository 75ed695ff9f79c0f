"""The measurement of SmoothGrad as a whole."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import keras

from heatdrop.bench import limits, measurements, report
from heatdrop.bench.contenders import HEATDROP, Contender
from heatdrop.bench.measurements import Plan
from heatdrop.bench.subjects import Subject
from heatdrop.errors import InvalidRequest
from heatdrop.saliency.tensorflow_engine import TensorFlowEngine

PARTS = ("contenders", "limits", "scaling", "errors", "memory")

QUICK = Plan(rounds=2, reference=200, error_samples=(5, 20), error_seeds=1, many_images=40)


def measure(
    subject: Subject, parts: Sequence[str], peers: Sequence[Contender], plan: Plan, say: Callable[[str], None]
) -> dict[str, Any]:
    """Measure the ``parts`` asked for, in the order of ``PARTS``.

    Args:
        subject: model and images.
        parts: some of ``PARTS``.
        peers: the libraries to compare with.
        plan: how much is measured.
        say: called with a line on what is being done.

    Raises:
        InvalidRequest: an unknown part.
    """
    for part in parts:
        if part not in PARTS:
            raise InvalidRequest(f"parts holds {part!r}; choose among {', '.join(PARTS)}")
    figures: dict[str, Any] = {"subject": subject.name, "plan": asdict(plan), "machine": report.machine()}
    if "contenders" in parts:
        figures["contenders"] = measurements.compare(subject, peers, plan, say)
    if "limits" in parts:
        figures["limits"] = _limits(subject, plan, figures.get("contenders", {}), say)
    if "scaling" in parts:
        figures["scaling"] = measurements.scaling(subject, plan, say)
    if "errors" in parts:
        figures["errors"] = measurements.errors(subject, plan, say)
    if "memory" in parts:
        figures["memory"] = measurements.memory(subject, plan, say)
    _draw_conclusions(figures)
    return figures


def _limits(subject: Subject, plan: Plan, contenders: dict[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    say("the machine's limit")
    rates = limits.machine_rates()
    engine = TensorFlowEngine(keras.models.load_model(subject.folder / "model.keras", compile=False))
    work = limits.counted_gflop(engine, subject.images.shape[1:], plan.samples, plan.classes)
    found: dict[str, Any] = {"gflop_per_second": rates, "gflop_per_image": work}
    if HEATDROP.name in contenders:
        rate = work / contenders[HEATDROP.name]["median_seconds"]
        found |= {"heatdrop_gflop_per_second": rate, "share_of_limit": rate / max(rates.values())}
    return found


def _draw_conclusions(figures: dict[str, Any]) -> None:
    """Add what follows from two parts together: how many times faster Heatdrop is at equal error."""
    contenders, errors = figures.get("contenders", {}), figures.get("errors")
    if errors is None:
        return
    saved = errors[HEATDROP.estimator]["fewer_gradients"]
    for name, found in contenders.items():
        if name != HEATDROP.name and found.get("estimator") == HEATDROP.estimator:
            found["times_heatdrop_at_equal_error"] = found["times_heatdrop"] / (1 - saved)
