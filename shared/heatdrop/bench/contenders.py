"""The libraries that are measured, each used as its documentation recommends, and as fast as it allows."""

from dataclasses import dataclass

from heatdrop.bench.environments import Environment
from heatdrop.errors import InvalidRequest

_SCIKIT_IMAGE = ("scikit-image", "lazy-loader", "imageio", "tifffile", "networkx")

# Installed without Xplique's own requirements, which ask for an older TensorFlow with CUDA; it runs on ours.
_XPLIQUE = ("xplique==2.0.2", "tensorflow-probability", "tf-keras", "dm-tree", "cloudpickle", "decorator")


@dataclass(frozen=True)
class Contender:
    """A library that offers SmoothGrad.

    Attributes:
        name: its name in reports.
        module: its module in ``heatdrop.bench.peers``.
        estimator: what it computes, by Heatdrop's name for it.
        environment: the Python environment it needs; None is this one.
        how: the settings it runs with, for reports.
    """

    name: str
    module: str
    estimator: str
    environment: Environment | None
    how: str


HEATDROP = Contender("heatdrop", "ours", "mean_abs", None, "by TensorFlow, as the heatmap job runs it on a GPU")

PEERS = (
    Contender("heatdrop-litert", "ours_litert", "mean_abs", None, "by LiteRT, as the heatmap job runs it on a CPU"),
    Contender("tf-keras-vis", "tf_keras_vis", "mean_abs", None, "Saliency, logit, one call a class"),
    Contender(
        "xplique",
        "xplique",
        "signed",
        Environment("xplique", (*_XPLIQUE, "deprecated", "wrapt", "einops", *_SCIKIT_IMAGE), True),
        "SmoothGrad on the logits, batches of 5, one call a class",
    ),
    Contender(
        "saliency",
        "pair",
        "squared",
        Environment("saliency", ("saliency==0.2.1", *_SCIKIT_IMAGE), True),
        "GradientSaliency with a compiled gradient function, one call a class",
    ),
    Contender(
        "captum",
        "captum",
        "mean_abs",
        Environment("captum", ("torch==2.13.0", "captum==0.9.0", "numpy"), False),
        "NoiseTunnel of Saliency, weights frozen, batches of 5, one call a class",
    ),
)


def chosen_peers(names: str) -> tuple[Contender, ...]:
    """The peers in a comma-separated list of names; also ``all`` or ``none``.

    Raises:
        InvalidRequest: an unknown name.
    """
    if names in {"all", "none"}:
        return PEERS if names == "all" else ()
    known = {peer.name: peer for peer in PEERS}
    for name in names.split(","):
        if name not in known:
            raise InvalidRequest(f"peers holds {name!r}; choose among {', '.join(known)}, all and none")
    return tuple(known[name] for name in names.split(","))
