"""State of the process: what torch and BLAS compute with, whatever the caller has set, and given back afterwards.

Products of the layers of a few thousand features are so short that threads mostly wait for each other, all the more
beside other processes. How their sums are split among threads also shows in the last bits, which training amplifies:
with one thread there is nothing to split.
"""

import threading
from contextlib import ExitStack, contextmanager
from functools import cache

import numpy as np
import torch
from threadpoolctl import ThreadpoolController

# Weights of the largest layer up to which one thread is used: 30,000 features and 128 hidden ones. Alone on two cores,
# two threads are 1.0 (2000 features) to 1.5 times (14,000) as fast; beside one busy process, 20 times as slow.
MAX_SERIAL = 2**22

BLAS_LOCK = threading.Lock()

# What the RuntimeErrors of torch say where memory is short, on the CPU, an accelerator, or in its library.
OUT_OF_MEMORY = ("DefaultCPUAllocator", "out of memory", "ALLOC_FAILED")


class Shared:
    """A setting of the whole process: of those who need it at once the first changes it, and the last restores it.

    Parameters
    ----------
    read : callable
        Returns the setting.
    write : callable
        Sets it.
    """

    def __init__(self, read, write):
        self.read = read
        self.write = write
        self.lock = threading.Lock()
        self.n_users, self.before = 0, None

    @contextmanager
    def at(self, value):
        with self.lock:
            if self.n_users == 0:
                self.before = self.read()
            self.n_users += 1
        try:
            self.write(value)
            yield
        finally:
            with self.lock:
                self.n_users -= 1
                if self.n_users == 0:
                    self.write(self.before)


THREADS = Shared(torch.get_num_threads, torch.set_num_threads)
DTYPE = Shared(torch.get_default_dtype, torch.set_default_dtype)


@contextmanager
def threads_for(module):
    """Use one thread if the layers of an autoencoder are small."""
    if module.largest_layer > MAX_SERIAL:
        yield
        return
    with THREADS.at(1):
        yield


@contextmanager
def one_blas_thread():
    """Use one thread of BLAS, in one fit after another: their number is one of the process too."""
    with BLAS_LOCK, blas_controller().limit(limits=1, user_api="blas"):
        yield


@cache
def blas_controller():
    """Return what sets the threads of the libraries loaded: to look for them takes a while."""
    return ThreadpoolController()


@contextmanager
def memory_errors():
    """Raise a MemoryError, as Python and numpy do, where torch raises a RuntimeError for want of memory."""
    try:
        yield
    except RuntimeError as error:
        if any(text in str(error) for text in OUT_OF_MEMORY):
            raise MemoryError(f"torch: {error}") from error
        raise


@contextmanager
def usual_state():
    """Compute as in a fresh process: in float32, on the CPU where nothing else is said, without autocast.

    And numpy warns as it does by default, instead of raising errors where a number underflows.
    """
    with memory_errors(), ExitStack() as stack:
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        stack.enter_context(DTYPE.at(torch.float32))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for device in ("cpu", *accelerators()):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


@cache
def accelerators():
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return [] if accelerator is None else [accelerator.type]


@contextmanager
def training_state():
    """Compute in the usual state, and record gradients, also where the caller does not.

    torch switches them off and on again at each step. An interrupt that comes between the two would leave them off in
    all later training of the process, if they were not restored here.
    """
    with usual_state(), torch.inference_mode(mode=False), torch.enable_grad():
        yield
