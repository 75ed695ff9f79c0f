"""Several batches at the same time: on a CPU, a core for each batch does more than all cores on one batch."""

import os
import sys

MAX_PARALLEL = 4
"""The most batches at the same time: the activations of each take memory."""

_THREADS = "TF_NUM_INTRAOP_THREADS"
"""TensorFlow reads from the environment how many threads an operation may use, when it computes something first."""


def run_batches_in_parallel() -> bool:
    """Let TensorFlow, if this process ever needs it, compute a batch on each core instead of sharing each operation.

    This holds for everything that TensorFlow does in the process, training included: so the process decides, and not
    the library. Call it before TensorFlow computes anything; engines made afterwards follow it. TensorFlow itself is
    not imported.

    Returns:
        False, and nothing is changed, when TensorFlow has computed something already.
    """
    threads = -(-cores() // MAX_PARALLEL)
    if "tensorflow" in sys.modules:
        try:
            sys.modules["tensorflow"].config.threading.set_intra_op_parallelism_threads(threads)
        except RuntimeError:
            return False
    os.environ[_THREADS] = str(threads)
    return True


def parallel_batches() -> int:
    """How many batches to compute at the same time: so many that each has the threads that an operation may use."""
    threads = int(os.environ.get(_THREADS, 0))
    return max(1, min(MAX_PARALLEL, cores() // threads)) if threads else 1


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
