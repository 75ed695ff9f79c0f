"""The parts of the measurement: each function runs contenders and returns figures for the report."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heatdrop.bench.contenders import HEATDROP, Contender
from heatdrop.bench.process import Process
from heatdrop.bench.subjects import Subject
from heatdrop.errors import HeatdropError
from heatdrop.vocabulary import Estimator

Float = NDArray[np.float32]
Figures = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        samples: noisy copies of an image in the comparison.
        classes: explained classes in the comparison.
        rounds: how often each contender explains an image, after one round that is not counted.
        reference: samples of the map that errors are measured against.
        error_samples: the numbers of samples in the error study.
        error_seeds: how many seeds are averaged for each of them.
        many_images: how many images are explained to see whether memory grows.
    """

    samples: int = 20
    classes: int = 3
    rounds: int = 5
    reference: int = 2000
    error_samples: tuple[int, ...] = (5, 10, 20, 50, 100)
    error_seeds: int = 3
    many_images: int = 1000


def compare(subject: Subject, peers: Sequence[Contender], plan: Plan, say: Say) -> Figures:
    """Seconds, memory and agreement of all contenders on the same images, taking turns in each round."""
    figures: Figures = {}
    processes: list[Process] = []
    with ExitStack() as stack:
        for contender in (HEATDROP, *peers):
            say(f"starting {contender.name}")
            try:
                processes.append(stack.enter_context(Process(contender, subject.folder, say)))
            except HeatdropError as error:
                figures[contender.name] = {"unavailable": str(error)}
        agreement = _agreement(subject, processes, plan, say)
        seconds: dict[str, list[float]] = {process.contender.name: [] for process in processes}
        peak: dict[str, float] = {}
        first: dict[str, float] = {}
        for number in range(plan.rounds + 1):
            image = subject.images[number % len(subject.images)]
            for process in processes:
                name = process.contender.name
                say(f"round {number} of {plan.rounds}: {name}")
                answer = process.explain(image, list(range(plan.classes)), plan.samples)
                peak[name] = answer.peak_mb
                if number:
                    seconds[name].append(answer.seconds)
                else:
                    first[name] = answer.seconds
    ours = median(seconds[HEATDROP.name])
    for process in processes:
        name = process.contender.name
        figures[name] = {
            "estimator": process.contender.estimator,
            "how": process.contender.how,
            "seconds": seconds[name],
            "median_seconds": median(seconds[name]),
            "times_heatdrop": median(seconds[name]) / ours,
            "load_seconds": process.load_seconds,
            "warm_up_seconds": first[name],
            "peak_mb": peak[name],
            **agreement.get(name, {}),
        }
    return figures


def _agreement(subject: Subject, processes: Sequence[Process], plan: Plan, say: Say) -> dict[str, Figures]:
    """How well each peer's map agrees with Heatdrop's for the same noise; also warms up each process."""
    image = subject.images[0]
    noise = np.random.Generator(np.random.Philox(key=11)).standard_normal((plan.samples, *image.shape), np.float32)
    classes = list(range(plan.classes))
    found: dict[str, Figures] = {}
    for process in processes[1:]:
        peer = process.contender
        say(f"same noise: {peer.name}")
        theirs = process.explain(image, classes, plan.samples, noise).maps
        with Process(HEATDROP, subject.folder, say, estimator=peer.estimator) as heatdrop:
            ours = heatdrop.explain(image, classes, plan.samples, noise).maps
        found[peer.name] = {"relative_l2": relative_l2(ours, theirs), "cosine": cosine(ours, theirs)}
    return found


def memory(subject: Subject, plan: Plan, say: Say) -> Figures:
    """Peak memory with ten times the samples, and over many images, each in a fresh process."""
    classes = list(range(plan.classes))
    peaks: Figures = {}
    for samples in (plan.samples, 10 * plan.samples):
        say(f"memory with {samples} samples")
        with Process(HEATDROP, subject.folder, say) as process:
            process.explain(subject.images[0], classes, plan.samples)
            peaks[f"samples_{samples}"] = process.explain(subject.images[0], classes, samples).peak_mb
    with Process(HEATDROP, subject.folder, say) as process:
        for number in range(plan.many_images):
            image = subject.images[number % len(subject.images)] + np.float32(number * 1e-3)
            peak = process.explain(image, classes, 5).peak_mb
            if number + 1 in {10, plan.many_images}:
                peaks[f"images_{number + 1}"] = peak
            if number % 50 == 0:
                say(f"memory after {number} images")
    few, many = f"samples_{plan.samples}", f"samples_{10 * plan.samples}"
    peaks["growth_by_samples"] = peaks[many] / peaks[few] - 1
    peaks["growth_by_images"] = peaks[f"images_{plan.many_images}"] / peaks["images_10"] - 1
    return peaks


def scaling(subject: Subject, plan: Plan, say: Say) -> Figures:
    """Heatdrop's seconds by number of samples, of classes, and of images."""
    image, figures = subject.images[0], Figures()
    counts = range(1, min(plan.classes, subject.classes) + 1)
    with Process(HEATDROP, subject.folder, say) as process:

        def seconds(samples: int, classes: int, images: int = 1) -> float:
            say(f"scaling: {samples} samples, {classes} classes, {images} images")
            process.explain(image, list(range(classes)), samples)
            return sum(
                process.explain(subject.images[number % len(subject.images)], list(range(classes)), samples).seconds
                for number in range(images)
            )

        figures["samples"] = {n: seconds(n, plan.classes) for n in (5, 10, 20, 40, 80)}
        figures["classes"] = {k: seconds(plan.samples, k) for k in counts}
        figures["images"] = {b: seconds(plan.samples, plan.classes, b) for b in (1, 2, 4)}
    return figures


def errors(subject: Subject, plan: Plan, say: Say) -> Figures:
    """Relative L2 error of maps, measured against one of many samples and as reported, for both samplings."""
    figures: Figures = {}
    # In this process, since a contender's process returns no standard errors.
    import keras

    from heatdrop.saliency import smoothgrad
    from heatdrop.saliency.noise import SAMPLINGS
    from heatdrop.saliency.tensorflow_engine import TensorFlowEngine

    engine = TensorFlowEngine(keras.models.load_model(subject.folder / "model.keras", compile=False))
    names: tuple[Estimator, ...] = ("mean_abs", "signed")
    image, classes = subject.images[:1], [list(range(plan.classes))]
    say(f"a reference of {plan.reference} samples")
    truth = smoothgrad(engine, image, classes, samples=plan.reference, seed=10**6, estimators=names).maps
    for sampling in SAMPLINGS:
        for n in plan.error_samples:
            say(f"error of {n} {sampling} samples")
            runs = [
                smoothgrad(engine, image, classes, samples=n, seed=seed, sampling=sampling, estimators=names)
                for seed in range(plan.error_seeds)
            ]
            for name in names:
                true = [relative_l2(run.maps[name], truth[name]) for run in runs]
                told = [float(np.mean(run.relative_errors[name])) for run in runs]
                figures.setdefault(name, {}).setdefault(sampling, {})[n] = {
                    "true": float(np.mean(true)),
                    "told": float(np.mean(told)),
                }
    for name in names:
        figures[name]["fewer_gradients"] = fewer_gradients(figures[name], plan.error_samples)
    return figures


def fewer_gradients(figures: Figures, counts: Sequence[int]) -> float:
    """The share of samples that stratified noise saves at equal error; the error falls with the root of n."""
    ratios = [figures["stratified"][n]["true"] / figures["independent"][n]["true"] for n in counts]
    return 1 - float(np.exp(2 * np.mean(np.log(ratios))))


def relative_l2(found: Float, wanted: Float) -> float:
    """The largest relative L2 distance of maps (..., H, W): norm of the difference over norm of ``wanted``."""
    difference = np.linalg.norm(found - wanted, axis=(-2, -1))
    return float((difference / np.linalg.norm(wanted, axis=(-2, -1))).max())


def cosine(found: Float, wanted: Float) -> float:
    """The smallest cosine similarity of maps (..., H, W)."""
    product = np.sum(found.astype(np.float64) * wanted, axis=(-2, -1))
    return float((product / np.linalg.norm(found, axis=(-2, -1)) / np.linalg.norm(wanted, axis=(-2, -1))).min())
