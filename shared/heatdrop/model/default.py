"""The bundle that comes with Heatdrop. The repository holds its source; the bundle is built from that on first use."""

from heatdrop.errors import InvalidBundle
from heatdrop.model import bundle as bundles
from heatdrop.model.bundle import Bundle
from heatdrop.project import BUILT_BUNDLE, MODEL_SOURCE

_PACKING = b"with gradients"
"""Changes when a bundle of the same source is packed otherwise, so that it is built anew, once."""


def open_default() -> Bundle | None:
    """The built bundle; None when it has not been built yet or its source has changed since."""
    try:
        bundle = bundles.open_bundle(BUILT_BUNDLE)
    except InvalidBundle:
        return None
    return bundle if bundle.description.source_digest == source_digest() else None


def build_default() -> Bundle:
    """Build the bundle from its source; takes half a minute and loads TensorFlow."""
    from heatdrop.model.source import build_bundle

    return build_bundle(MODEL_SOURCE, BUILT_BUNDLE, source_digest())


def source_digest() -> str:
    """Tells whether the source has changed since the bundle was built.

    Raises:
        InvalidBundle: there is no source, as in an installation without the project's folder.
    """
    if not MODEL_SOURCE.is_dir():
        raise InvalidBundle("the chest X-ray model is not part of this installation; name a bundle with --bundle")
    parts = (path.read_bytes() for path in sorted(MODEL_SOURCE.iterdir()))
    return bundles.digest(_PACKING + b"".join(parts))
