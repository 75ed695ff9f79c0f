"""Every error that is foreseen, one class for each case that somebody handles differently.

A message is written for the person who reads it: what is wrong, and what to do next.
"""

from typing import Self


class HeatdropError(Exception):
    """Base of every error that Heatdrop raises on purpose; the message is a sentence for whoever reads it."""


class RejectedImage(HeatdropError):
    """The image is at fault: final, never retried."""


class EmptyFile(RejectedImage):
    """Zero bytes."""


class FileTooLarge(RejectedImage):
    """More bytes than the limit; refused before anything is decoded."""

    @classmethod
    def over(cls, limit: int, size: int) -> Self:
        """Of a file of ``size`` bytes where ``limit`` are taken."""
        return cls(f"the file has {size / 1e6:.1f} MB; at most {limit / 1e6:.0f} MB are taken")


class UnknownFormat(RejectedImage):
    """Not JPEG, PNG, BMP, TIFF, WebP or DICOM, whatever the suffix says."""


class TooManyPixels(RejectedImage):
    """The header announces more pixels than the limit; refused before anything is decoded."""


class DamagedImage(RejectedImage):
    """A known format whose content is truncated or corrupt."""


class UnsupportedImage(RejectedImage):
    """A sound file that holds no single still image, such as a DICOM report or a film."""


class UnsafeImage(RejectedImage):
    """A file that makes its decoder crash, or take more time or memory than any file may."""


class DecoderLost(HeatdropError):
    """The process that decodes has died, and the file need not be at fault."""


class InvalidBundle(HeatdropError):
    """A model bundle is missing a part, was changed after packing, or does not fit this version."""


class GpuMissing(HeatdropError):
    """A job was promised a GPU and finds none."""


class TensorFlowMissing(HeatdropError):
    """A model or a method can only be explained by TensorFlow, which is not installed."""


class InvalidDataset(HeatdropError):
    """A training folder cannot be trained on."""


class InvalidRequest(HeatdropError):
    """An argument is out of its range; the message names it."""


class SourceMissing(HeatdropError):
    """The object that was dropped is no longer in the input bucket."""


class ManifestMissing(HeatdropError):
    """A job's manifest is no longer there: its images were erased, or it has expired."""


class NotFound(HeatdropError):
    """What was asked for is not there."""


class RecordGone(NotFound):
    """The record of an image was erased while it was being worked on."""


class NotErased(HeatdropError):
    """Something that was to be erased could not be."""


class NotNow(HeatdropError):
    """The state of the image does not allow what was asked for."""


class TooManyExplanations(NotNow):
    """An image has as many explanations on request as are kept."""


class CloudUnreachable(HeatdropError):
    """AWS does not answer, or refuses these credentials."""


class NotSignedIn(CloudUnreachable):
    """There are no AWS credentials, or they have run out."""


class NoProgress(HeatdropError):
    """No notification came for too long, and not every image is final."""


class WrongMethod(HeatdropError):
    """The path is there, but not with this method."""


class NotJson(HeatdropError):
    """The body is not the JSON document that it should be."""


class WrongMediaType(HeatdropError):
    """The body of a request is of a media type that is not read."""


class DeploymentFailed(HeatdropError):
    """Something that the template describes does not exist after the deployment."""


class FunctionFailed(HeatdropError):
    """An invocation ended without an answer: the handler raised, timed out, or its process died."""


class BenchFailed(HeatdropError):
    """A process that was to be measured did not do its work."""


class ContenderFailed(HeatdropError):
    """A contender's process ended; the message holds its last words."""


class PeerUnavailable(HeatdropError):
    """A peer's environment cannot be made."""


class UnknownEvent(HeatdropError):
    """A queue holds a message of a form that none of its senders uses."""


class NotAnnounced(HeatdropError):
    """EventBridge did not take a notification; the retry of the message publishes it again."""


class NotAccepted(HeatdropError):
    """A step of the acceptance test found something else than it should."""
