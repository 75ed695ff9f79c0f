"""Batches beside each other: on a CPU, a batch a core does more than all cores at one batch."""

import os

import tensorflow as tf

MAX_STREAMS = 4
"""Each stream holds a batch's activations, so memory grows with them."""


def one_batch_a_core() -> bool:
    """Let this process compute noise batches beside each other, instead of sharing each operation among the cores.

    It holds for everything TensorFlow does in this process, training included, so that is for the process to say and
    not for the library. ``GradientEngine`` objects made afterwards follow it.

    Returns:
        False, and nothing is changed, when TensorFlow is in use already.
    """
    try:
        tf.config.threading.set_intra_op_parallelism_threads(-(-_cores() // MAX_STREAMS))
    except RuntimeError:
        return False
    return True


def streams() -> int:
    """How many batches to compute at once: as many as leave each the threads that an operation may use."""
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    return max(1, min(MAX_STREAMS, _cores() // threads)) if threads else 1


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
