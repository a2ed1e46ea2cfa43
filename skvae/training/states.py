"""States of a net that were saved: what torch is given of one must fit its module, whoever wrote the file.

torch and numpy check less than they need to: a position beyond the end of a generator's words reads foreign memory.
"""

import math
import struct
from numbers import Integral, Real

import numpy as np
import torch

from skvae.training.history import KL_BY_COMPONENT, N_STEP_TERMS, TERMS

# More than any fit has gradient steps: seeds, which grow with them, still have 64 bits.
MANY = 2**40
MAX_SEED = 2**31

# What Adam keeps of each parameter, beside the number of its steps.
MOMENTS_OF_ADAM = ("exp_avg", "exp_avg_sq")

# Words of the state of a torch generator on the CPU, a Mersenne twister, and where its position is among the bytes.
N_WORDS, POSITION, POSITION_AT = 624, "=iiQ", 8


def check_state(state, module):
    """Raise a ValueError unless a state, that `Net.state` may have returned, fits a module.

    Parameters
    ----------
    state : dict
    module : Autoencoder
    """
    settings, moments, seeds = state["settings"], state["moments"], state["seeds"]
    check_weights(state["weights"], module)
    check_optimizer(state["optimizer"], list(module.parameters()))
    expect(is_integer(state["n_steps"], MANY) and is_integer(settings["n_steps"], MANY), "n_steps")
    expect(is_number(state["last_factor"]), "last_factor")
    expect(isinstance(seeds, list) and len(seeds) == 2 and all(is_integer(seed, MAX_SEED) for seed in seeds), "seeds")
    expect(moments.keys() == {"sums", "squares", "weight"}, "moments")
    for name, value in moments.items():
        expect(is_array(value, () if name == "weight" else (settings["n_features"],), np.float64), f"moments, {name}")
    expect(isinstance(state["history"], list), "history")
    for epoch in state["history"]:
        check_epoch(epoch, settings["params"]["n_components"])


def check_weights(weights, module):
    """Raise a ValueError unless there are weights of each parameter and buffer, of its shape and dtype."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        expect(name in weights and is_array(weights[name], tuple(tensor.shape), numpy_dtype(tensor)), name)


def check_optimizer(optimizer, parameters):
    """Raise a ValueError unless what Adam kept is of some of the parameters, and of their shapes."""
    groups = optimizer["groups"]
    expect(isinstance(groups, list) and len(groups) == 1, "groups of the optimizer")
    for name, value in groups[0].items():
        numbers = value if isinstance(value, tuple) else (value,)
        expect(all(number is None or is_number(number) for number in numbers), f"{name} of the optimizer")
    for index, kept in optimizer["parameters"].items():
        expect(index.isdecimal() and int(index) < len(parameters), f"parameter {index} of the optimizer")
        parameter = parameters[int(index)]
        expect(kept.keys() == {"step", *MOMENTS_OF_ADAM}, f"parameter {index} of the optimizer")
        expect(is_array(kept["step"], (), np.float32), f"the steps of parameter {index}")
        for name in MOMENTS_OF_ADAM:
            expect(is_array(kept[name], tuple(parameter.shape), numpy_dtype(parameter)), f"{name} of parameter {index}")


def check_epoch(epoch, n_components):
    """Raise a ValueError unless an epoch of the history has its terms."""
    terms = [epoch[name] for name in [*list(TERMS.values())[:N_STEP_TERMS], TERMS["kl_weight"]]]
    by_component = epoch[KL_BY_COMPONENT]
    expect(isinstance(by_component, list) and len(by_component) == n_components, KL_BY_COMPONENT)
    expect(all(isinstance(value, Real) for value in (*terms, *by_component)), "history")


def generator_state(saved, generator):
    """Return the state of a torch generator that a checkpoint holds, a tensor, or raise a ValueError."""
    expected = generator.get_state()
    expect(is_array(saved, tuple(expected.shape), np.uint8), "the state of a generator")
    if generator.device.type == "cpu":
        n_left, _, position = struct.unpack_from(POSITION, saved.tobytes(), POSITION_AT)
        # a new one, or one that has drawn; torch checks each number, but not that they agree
        expect((n_left, position) == (1, 0) or n_left + position == N_WORDS + 1, "the position of a generator")
    return torch.from_numpy(saved.copy())


def expect(is_sound, what):
    if not is_sound:
        raise ValueError(f"{what}: not what belongs there")


def is_integer(value, end):
    return isinstance(value, Integral) and 0 <= int(value) < end


def is_number(value):
    return isinstance(value, Real) and math.isfinite(value)


def is_array(value, shape, dtype):
    return isinstance(value, np.ndarray) and value.shape == shape and value.dtype == dtype


def numpy_dtype(tensor):
    return torch.empty(0, dtype=tensor.dtype).numpy().dtype
