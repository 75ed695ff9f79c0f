"""Several batches at the same time: on a CPU, a core for each batch does more than all cores on one batch."""

import os

import tensorflow as tf

MAX_PARALLEL = 4
"""The most batches at the same time: the activations of each take memory."""


def run_batches_in_parallel() -> bool:
    """Let this process compute a batch on each core, instead of sharing each operation among the cores.

    This holds for everything that TensorFlow does in the process, training included: so the process decides, and not
    the library. Call it before TensorFlow computes anything; ``GradientEngine`` objects made afterwards follow it.

    Returns:
        False, and nothing is changed, when TensorFlow has computed something already.
    """
    try:
        tf.config.threading.set_intra_op_parallelism_threads(-(-_cores() // MAX_PARALLEL))
    except RuntimeError:
        return False
    return True


def parallel_batches() -> int:
    """How many batches to compute at the same time: so many that each has the threads that an operation may use."""
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    return max(1, min(MAX_PARALLEL, _cores() // threads)) if threads else 1


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
