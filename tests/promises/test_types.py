"""The public API is annotated, for editors and type checkers; `mypy` checks the annotations."""

import inspect

import pytest

import skvae
from skvae import plotting

PUBLIC = {name: getattr(skvae, name) for name in skvae.__all__}
PUBLIC |= {name: value for name, value in vars(plotting).items() if name.startswith(("plot_", "make_"))}


def functions_of(public):
    """Yield the functions and the methods that a class of ours defines."""
    if inspect.isfunction(public):
        yield public
        return
    for base in (public if inspect.isclass(public) else type(public)).__mro__:
        if base.__module__.startswith("skvae"):
            for name, value in vars(base).items():
                function = getattr(value, "fget", None) or getattr(value, "fn", None) or inspect.unwrap(value)
                function = getattr(function, "__func__", function)
                if not name.startswith("_") and not name.startswith("on_") and inspect.isfunction(function):
                    yield function


@pytest.mark.parametrize("public", PUBLIC.values(), ids=PUBLIC)
def test_all_parameters_and_results_are_annotated(public):
    for function in functions_of(public):
        signature = inspect.signature(function)
        named = [parameter for name, parameter in signature.parameters.items() if name not in ("self", "cls")]
        missing = [parameter.name for parameter in named if parameter.annotation is inspect.Parameter.empty]
        assert not missing, f"{function.__qualname__}: {missing}"
        assert signature.return_annotation is not inspect.Signature.empty, function.__qualname__


CLASSES = {name: public for name, public in PUBLIC.items() if inspect.isclass(public)}


@pytest.mark.parametrize("public", CLASSES.values(), ids=CLASSES)
def test_the_parameters_of_classes_are_annotated(public):
    parameters = inspect.signature(public).parameters
    assert parameters
    assert [name for name, it in parameters.items() if it.annotation is inspect.Parameter.empty] == []
