"""What would go wrong in a deployed stack, found by looking: nothing is changed, nothing is put anywhere."""

from collections.abc import Callable, Iterable, Iterator

from botocore.exceptions import BotoCoreError, ClientError

from heatdrop.aws.doctor.deployed import DeployedStack
from heatdrop.aws.doctor.findings import Finding, Verdict

__all__ = ["CHECKS", "DeployedStack", "Finding", "Verdict", "examine"]

Check = Callable[[DeployedStack], Iterable[Finding]]

CHECKS: dict[str, Check] = {}
"""Name of a check to what does it, in the order in which an image meets the things that are checked."""


def _register() -> None:
    from heatdrop.aws.doctor import capacity, container, delivery, model, progress, rights

    CHECKS.update(
        {
            "drops arrive": delivery.drops_arrive,
            "failures arrive": delivery.failures_arrive,
            "subscriptions": delivery.subscriptions,
            "bundle": model.bundle,
            "heatmap image": container.heatmap_image,
            "job queues": capacity.job_queues,
            "GPU quota": capacity.gpu_quota,
            "Lambda concurrency": capacity.lambda_concurrency,
            "rights": rights.rights,
            "queues": progress.queues,
            "alarms": progress.alarms,
            "oldest open image": progress.oldest_open_image,
        }
    )


_register()


def examine(stack: DeployedStack) -> Iterator[Finding]:
    """Run every check. One that AWS does not answer is UNKNOWN and says why; it never stops the others."""
    for name, check in CHECKS.items():
        try:
            yield from check(stack)
        except (ClientError, BotoCoreError, NotImplementedError) as error:
            yield Finding.unknown(name, f"this cannot be asked here ({error}); ask with more rights, or look yourself")
