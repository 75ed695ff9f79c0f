"""Whether there is a GPU, and whether TensorFlow sees it. Without one it would silently go on on the CPU."""

from importlib.util import find_spec
from pathlib import Path

from heatdrop.errors import GpuMissing


def find_gpus(*, required: bool) -> tuple[str, ...]:
    """What TensorFlow calls the GPUs that it can use; none on a machine without, where it is not even imported.

    Raises:
        GpuMissing: one is required, and there is none.
    """
    if not required and not _has_device():
        return ()
    if find_spec("tensorflow") is None:
        raise GpuMissing(
            "this job was promised a GPU, but its container was built without TensorFlow; leave the build argument "
            "TENSORFLOW out, or deploy with UseGpu=false to render on CPUs"
        )
    # Imported here: on a CPU, most heatmaps are made without it.
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    if required and not devices:
        build = "with" if tf.test.is_built_with_cuda() else "without"
        raise GpuMissing(
            f"this job was promised a GPU, but TensorFlow {tf.__version__}, built {build} CUDA, sees none; "
            "check the instance's driver and the container, or deploy with UseGpu=false to render on CPUs"
        )
    return tuple(tf.config.experimental.get_device_details(device).get("device_name", "GPU") for device in devices)


def _has_device() -> bool:
    return any(Path("/dev").glob("nvidia[0-9]*"))
