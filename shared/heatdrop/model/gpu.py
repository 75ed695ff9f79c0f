"""Whether TensorFlow sees the GPU that a heatmap job asked for. Without one it would silently go on on the CPU."""

import tensorflow as tf

from heatdrop.errors import GpuMissing


def find_gpus(*, required: bool) -> tuple[str, ...]:
    """What TensorFlow calls the GPUs that it can use; none on a machine without.

    Raises:
        GpuMissing: one is required, and there is none.
    """
    devices = tf.config.list_physical_devices("GPU")
    if required and not devices:
        build = "with" if tf.test.is_built_with_cuda() else "without"
        raise GpuMissing(
            f"this job was promised a GPU, but TensorFlow {tf.__version__}, built {build} CUDA, sees none; "
            "check the instance's driver and the container, or deploy with UseGpu=false to render on CPUs"
        )
    return tuple(tf.config.experimental.get_device_details(device).get("device_name", "GPU") for device in devices)
