"""Adam without the compiler of torch, which is imported with any optimizer of its own, for as long as a fit takes."""

import inspect

import torch


class Adam(torch.optim.Adam):
    """torch's Adam, of which what is wrapped for the compiler is called directly."""

    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.Adam.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.Adam.state_dict)
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)

    take_step = inspect.unwrap(torch.optim.Adam.step)

    def step(self, closure=None):
        with torch.no_grad():
            return self.take_step(closure)
