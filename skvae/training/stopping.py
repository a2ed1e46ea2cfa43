"""How training ends before its plan does: a callback asks for it, the user interrupts it, or it diverges."""

import dis


class StopTraining(Exception):
    """A callback asks to end training after this epoch."""


class DivergenceError(ValueError, FloatingPointError):
    """The loss or a weight is infinite or NaN."""


def asks_to_stop(interrupt):
    """Return whether a KeyboardInterrupt ends training, not fit: a `raise` in a callback's own on_epoch_end.

    Such is that of skorch's EarlyStopping. The user's comes at another instruction, even where it comes in that method.
    """
    last = interrupt.__traceback__
    while last.tb_next is not None:
        last = last.tb_next
    code = last.tb_frame.f_code
    return code.co_name == "on_epoch_end" and dis.opname[code.co_code[last.tb_lasti]] == "RAISE_VARARGS"
