"""How many threads torch uses: one where a second one gains nothing.

Products of the layers of a few thousand features are so short that threads mostly wait for each other, all the more
beside other processes. How their sums are split among threads also shows in the last bits, which training amplifies:
with one thread there is nothing to split.
"""

import threading
from contextlib import contextmanager
from functools import cache

import torch
from threadpoolctl import ThreadpoolController

# Weights of the largest layer up to which one thread is used: 2000 features and 500 hidden ones.
MAX_SERIAL = 2**20

LOCK, BLAS_LOCK = threading.Lock(), threading.Lock()
inside, outside = 0, 0


@contextmanager
def threads_for(module):
    """Use one thread if the layers of a module are small.

    The number of threads is one of the process: of fits that run at once the first changes it and the last restores it.
    """
    global inside, outside
    if max(weight.numel() for weight in module.parameters()) > MAX_SERIAL:
        yield
        return
    with LOCK:
        if inside == 0:
            outside = torch.get_num_threads()
        inside += 1
    try:
        torch.set_num_threads(1)
        yield
    finally:
        with LOCK:
            inside -= 1
            if inside == 0:
                torch.set_num_threads(outside)


@contextmanager
def one_blas_thread():
    """Use one thread of BLAS, for the same reason, in one fit after another: their number is one of the process too."""
    with BLAS_LOCK, blas_controller().limit(limits=1, user_api="blas"):
        yield


@cache
def blas_controller():
    """Return what sets the threads of the libraries loaded: to look for them takes a while."""
    return ThreadpoolController()
