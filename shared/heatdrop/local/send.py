"""Send files through a local cloud, as a user of the real one would: subscribe, put objects, read the results."""

from collections.abc import Callable, Sequence
from importlib.resources import files as package_files
from pathlib import Path

import boto3

from heatdrop.aws.image_table import ImageTable
from heatdrop.aws.item_table import ItemTable
from heatdrop.aws.storage import Storage, fitting_key, put_drop
from heatdrop.aws.subscription import Subscription
from heatdrop.errors import FunctionFailed, NoProgress
from heatdrop.explaining.inputs import path_text
from heatdrop.explaining.output_folder import OutputFolder
from heatdrop.ids import image_id
from heatdrop.local.cloud import LocalCloud
from heatdrop.model.bundle import Bundle
from heatdrop.vocabulary import Drop, ExplanationSettings, Result, State

STAGES = ("dropped", "classified", "explained")

Progress = Callable[[str, int], None]
"""Called with the name of a stage and how many images have passed it."""

_DEMO = ("RG1_UNCR.dcm", "RG1_J2KR.dcm", "RG1_J2KI.dcm", "RG3_J2KI.dcm")


def demo_files() -> list[Path]:
    """Radiographs of the pydicom-data package: a chest in three transfer syntaxes, and a lower leg for contrast."""
    folder = Path(str(package_files("data_store"))) / "data"
    return [folder / name for name in _DEMO]


def send_files(
    files: Sequence[Path],
    bundle: Bundle,
    settings: ExplanationSettings,
    output: OutputFolder,
    progress: Progress = lambda stage, done: None,
) -> list[Result]:
    """Drop every file, wait until each has a final state, and save and return the results in the order of ``files``.

    When the local cloud breaks down, the images that are not final yet are answered as FAILED, with the reason.
    """
    with LocalCloud(parameters_of(bundle, settings), output.root / "logs") as cloud:
        outputs = cloud.deployment.outputs
        subscription = Subscription(outputs["NotificationsTopic"])
        drops: dict[Path, Drop] = {}
        answers: dict[Path, Result] = {}
        s3 = boto3.client("s3")
        for number, file in enumerate(files, start=1):
            try:
                with file.open("rb") as body:
                    drops[file] = put_drop(s3, outputs["InputBucket"], _key(file), body)
            except OSError as error:
                answers[file] = _unreadable(file, error)
            progress("dropped", number)
        problem = _follow(subscription, cloud, {image_id(drop) for drop in drops.values()}, progress)
        images = ImageTable(ItemTable(outputs["ImagesTable"]))
        storage = Storage(outputs["ResultsBucket"])
        answers |= {file: _fetch(file, drop, images, storage, output, problem) for file, drop in drops.items()}
    results = [answers[file] for file in files]
    output.save_results(results)
    return results


def parameters_of(bundle: Bundle, settings: ExplanationSettings) -> dict[str, str]:
    """The template's parameters for a local cloud that uses this bundle and these settings."""
    return {
        "BundleUri": str(bundle.folder.resolve()),
        "Method": settings.method,
        "Top": str(settings.top),
        "Samples": str(settings.samples),
        "NoiseLevel": f"{settings.noise_level:.6f}",
        "Estimator": settings.estimator,
        "Jitter": str(settings.jitter),
        "Dicom": str(settings.dicom).lower(),
        # Short, since somebody waits, and all images are dropped at once anyway.
        "BatchingWindowSeconds": "1",
        # The job definition without a GPU: this machine need not have one.
        "UseGpu": "false",
    }


def _unreadable(file: Path, error: OSError) -> Result:
    name = image_id(Drop(bucket="", key=_key(file)))
    reason = f"the file cannot be read: {error.strerror}"
    return Result(file=path_text(file), image_id=name, state=State.REJECTED, reason=reason)


def _key(file: Path) -> str:
    """The whole path, so that no two files share a key."""
    return fitting_key(path_text(file.absolute()).lstrip("/"))


def _follow(subscription: Subscription, cloud: LocalCloud, waiting: set[str], progress: Progress) -> str | None:
    """Report progress until every image is final; returns what is wrong if the cloud breaks down before."""
    classified: set[str] = set()
    final: set[str] = set()
    try:
        for notification in subscription.until_final(waiting, cloud.check):
            # An image that was rejected counts as through all stages.
            classified.add(notification.image_id)
            if notification.state.final:
                final.add(notification.image_id)
            progress("classified", len(classified))
            progress("explained", len(final))
    except (NoProgress, FunctionFailed) as error:
        return str(error)
    return None


def _fetch(
    file: Path, drop: Drop, images: ImageTable, storage: Storage, output: OutputFolder, problem: str | None
) -> Result:
    name = image_id(drop)
    record = images.get(name)
    if record is None or not record.state.final:
        reason = problem or "the record is missing"
        return Result(file=path_text(file), image_id=name, state=State.FAILED, reason=reason)
    picture = None
    if record.picture:
        (picture,) = output.save(path_text(file), name, [(record.picture, storage.get_artefact(record.picture))])
    heatmaps = tuple(
        output.save_heatmap(
            path_text(file),
            name,
            heatmap.label,
            [(key, storage.get_artefact(key)) for key in heatmap.paths],
        )
        for heatmap in record.heatmaps
    )
    return Result(
        file=path_text(file),
        image_id=name,
        state=record.state,
        reason=record.reason,
        predictions=record.predictions,
        unusual=record.unusual,
        picture=picture,
        heatmaps=heatmaps,
        trust=record.trust,
        model=record.model,
        timings_ms=record.timings_ms,
    )
