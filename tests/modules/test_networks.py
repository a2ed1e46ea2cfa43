import pytest
import scipy.stats
import torch
from torch import nn

from skvae.networks import CenteredLinear, Head, Linear, Trunk, initialize


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_trunk_has_the_widths_and_activations_asked_for():
    layers = Trunk(20, (8, 4), "relu", first_activation="identity").layers
    assert [(layer.in_features, layer.out_features) for layer in layers[::2]] == [(20, 8), (8, 4)]
    assert [type(layer) for layer in layers[1::2]] == [nn.Identity, nn.ReLU]


def test_a_centered_trunk_sees_the_input_less_its_mean():
    trunk = initialize(Trunk(5, (4,), "tanh", centered=True), generator(1)).double()
    x, mean = torch.randn(3, 5, dtype=torch.float64, generator=generator()), torch.arange(5.0, dtype=torch.float64)
    plain = trunk(x)
    torch.testing.assert_close(plain, torch.tanh(x @ trunk.layers[0].weight + trunk.layers[0].bias))
    trunk.start(mean, torch.zeros(1))
    torch.testing.assert_close(trunk(x + mean), plain)


def test_a_centered_trunk_sees_input_by_its_scale():
    trunk = initialize(Trunk(5, (4,), "tanh", centered=True), generator(1)).double()
    x, mean = torch.randn(3, 5, dtype=torch.float64, generator=generator()), torch.zeros(5)
    plain = trunk(x)
    trunk.start(mean, torch.tensor([100.0, 0, 0, 25, 0]))
    torch.testing.assert_close(trunk(5 * x), plain)
    trunk.start(mean, torch.full((5,), 0.01))
    torch.testing.assert_close(trunk(x / 10), plain)
    trunk.start(mean, torch.zeros(5))  # which has no scale: the last one stays
    torch.testing.assert_close(trunk(x / 10), plain)


def test_a_trunk_without_widths_is_the_identity():
    x = torch.ones(2, 3)
    trunk = Trunk(3, (), "relu")
    assert trunk.n_outputs == 3
    assert torch.equal(trunk(x), x)


def test_a_head_ends_linear():
    head = initialize(Head(8, (5,), "relu", 2), generator())
    h = torch.randn(3, 8, generator=generator())
    torch.testing.assert_close(head(h), torch.relu(head.trunk.layers[0](h)) @ head.output.weight.T + head.output.bias)


def test_initial_weights_depend_on_the_generator_alone():
    weights = [initialize(Linear(5, 4), generator(seed)).weight for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_building_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    initialize(Linear(5, 4), generator())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("make_layer", [Linear, CenteredLinear])
def test_initial_weights_are_uniform_with_the_scale_of_their_fan_in(make_layer):
    layer = initialize(make_layer(100, 500), generator())
    for parameter in (layer.weight, layer.bias):
        values = parameter.detach().numpy().ravel()
        assert scipy.stats.kstest(values, scipy.stats.uniform(-0.1, 0.2).cdf).pvalue > 1e-3
