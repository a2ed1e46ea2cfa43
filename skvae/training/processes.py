"""Processes that train together: each has a share of the rows, and gradients are averaged at each step.

`torchrun` or `accelerate launch` starts them; accelerate, of the extra `distributed`, connects them.
"""

import os
from contextlib import contextmanager

import numpy as np
import torch


class OneProcess:
    """A process that trains alone."""

    index = 0
    count = 1

    def add_up(self, tensor):
        """Return the sum of a tensor over the processes."""
        return tensor

    def gather(self, rows):
        """Return the rows of all processes, an ndarray, in every process."""
        return rows

    def collect(self, part):
        """Return the parts of all processes, a list, in every process."""
        return [part]

    @contextmanager
    def together(self):
        """Raise in every process what one of them raises in the block, instead of leaving the others waiting."""
        yield

    def check_alike(self, facts):
        """Raise a ValueError in every process unless a dict holds the same in each: they would wait for each other."""

    def wrap(self, module):
        """Return the module such that its gradients are means over the processes."""
        return module

    def share(self, rows):
        """Return the `Rows` of this process among those of all."""
        return rows


class ManyProcesses(OneProcess):
    """Processes of one `torchrun` or `accelerate launch`.

    Parameters
    ----------
    device : torch.device
        Where the network is trained.
    """

    def __init__(self, device):
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise ImportError(
                'distributed == True needs accelerate; install it with pip install "skvae[distributed]".'
            ) from error
        self.accelerator = Accelerator(cpu=device.type == "cpu", device_placement=False, mixed_precision="no")
        self.index = self.accelerator.process_index
        self.count = self.accelerator.num_processes

    def share(self, rows):
        n_rows = len(rows)
        if n_rows < self.count:
            raise ValueError(f"X has {n_rows} row(s); expected {self.count} or more, one for each process.")
        return rows.part(self.index * n_rows // self.count, (self.index + 1) * n_rows // self.count)

    def add_up(self, tensor):
        # a collective operation works where the processes have their devices
        return self.accelerator.reduce(tensor.to(self.accelerator.device), "sum").to(tensor.device)

    def gather(self, rows):
        return np.concatenate(self.collect(rows))

    def collect(self, part):
        from accelerate.utils import gather_object

        return gather_object([part])

    @contextmanager
    def together(self):
        error = None
        try:
            yield
        except Exception as raised:
            error = raised
        failed = self.add_up(torch.tensor(float(error is not None)))
        if error is not None:
            raise error
        if failed:
            raise RuntimeError("another process failed; its own message says why.")

    def check_alike(self, facts):
        others = self.collect(facts)
        for name in facts:
            values = [other.get(name) for other in others]
            if any(value != values[0] for value in values):
                raise ValueError(f"the processes differ in {name}: {values}; expected one value.")

    def wrap(self, module):
        return self.accelerator.prepare_model(module, device_placement=False)


def find_processes(distributed, device):
    """Return the processes that this one trains with: itself alone unless `distributed` and started with others."""
    started = int(os.environ.get("WORLD_SIZE", 1)) > 1
    return ManyProcesses(device) if distributed and started else OneProcess()


def find_device(name):
    """Return the torch device of that name, or raise a ValueError that lists the devices at hand.

    "auto" is the accelerator, if there is one, else the CPU.
    """
    at_hand = ["cpu"]
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is not None:
        kind = accelerator.type
        at_hand += [kind, *(f"{kind}:{i}" for i in range(torch.accelerator.device_count()))]
    if name == "auto":
        name = at_hand[:2][-1]
    if name not in at_hand:
        raise ValueError(f"device == {name!r}, must be 'auto' or one of {at_hand} on this machine.")
    return torch.device(name)
