"""Processes that train together: each has a share of the rows, and gradients are averaged at each step.

`torchrun` or `accelerate launch` starts them; accelerate, of the extra `distributed`, connects them.
"""

import numpy as np


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

    def wait(self):
        """Wait until all processes are here."""

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
        self.accelerator = Accelerator(cpu=device.type == "cpu", device_placement=False)
        self.index = self.accelerator.process_index
        self.count = self.accelerator.num_processes

    def share(self, rows):
        n_rows = len(rows)
        return rows.part(self.index * n_rows // self.count, (self.index + 1) * n_rows // self.count)

    def add_up(self, tensor):
        # a collective operation works where the processes have their devices
        return self.accelerator.reduce(tensor.to(self.accelerator.device), "sum").to(tensor.device)

    def gather(self, rows):
        from accelerate.utils import gather_object

        return np.concatenate(gather_object([rows]))

    def wait(self):
        self.accelerator.wait_for_everyone()

    def wrap(self, module):
        return self.accelerator.prepare_model(module, device_placement=False)


def find_processes(distributed, device):
    """Return the processes that this one trains with: itself alone unless `distributed` and started with others."""
    processes = ManyProcesses(device) if distributed else OneProcess()
    return processes if processes.count > 1 else OneProcess()
