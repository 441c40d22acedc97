"""Small networks: what they compute, what they draw, what they refuse."""

import math
import random

import pytest

import valuegrad as vg
from valuegrad import nn
from valuegrad.value import read_data


def values(numbers):
    return [vg.Value(x) for x in numbers]


def data(vector):
    return [x.data for x in vector]


def drawn(n, seed=1):
    rng = random.Random(seed)
    return [rng.uniform(-1, 1) for _ in range(n)]


def test_linear_is_a_matrix_times_a_vector():
    weight = [values([1.0, 2.0]), values([3.0, 4.0]), values([5.0, 6.0])]
    assert data(nn.linear(values([10.0, 1.0]), weight)) == [12.0, 34.0, 56.0]


def test_a_linear_layer_adds_its_biases():
    layer = nn.Linear(2, 1, draw=iter([1.0, 2.0]).__next__)
    layer.bias[0].data = 0.5
    assert data(layer(values([1.0, 1.0]))) == [3.5]
    assert len(layer.parameters()) == 3


def test_a_layer_without_bias_has_weights_only():
    assert len(nn.Linear(3, 2, bias=False).parameters()) == 6


def test_rmsnorm_makes_the_mean_square_one():
    out = data(nn.rmsnorm(values([3.0, -4.0, 5.0]), epsilon=0.0))
    assert sum(x * x for x in out) / 3 == pytest.approx(1.0, rel=1e-15)  # a few roundings
    assert out[0] / out[1] == pytest.approx(-0.75, rel=1e-15)


def test_rmsnorm_of_zeros_is_zeros():
    assert data(nn.rmsnorm(values([0.0, 0.0]))) == [0.0, 0.0]


def test_rmsnorm_has_the_gradient_of_central_differences():
    def f(*x):
        return vg.dot(nn.rmsnorm(list(x)), [0.3, -0.2, 0.9])

    vg.check_gradients(f, 0.5, -1.5, 2.0)


def test_the_gain_of_rmsnorm_scales_its_entries():
    norm = nn.RMSNorm(2, epsilon=0.0)
    norm.gain[1].data = 2.0
    assert data(norm(values([1.0, 1.0]))) == [1.0, 2.0]
    assert nn.RMSNorm(2, gain=False).parameters() == []


def test_attend_averages_the_values_by_how_well_the_keys_match():
    query, keys, entries = values([1.0, 0.0]), [values([2.0, 9.0]), values([0.0, 9.0])], [values([10.0, 20.0])]
    first, second = math.exp(2 / math.sqrt(2)), 1.0
    expected = (10.0 * first + 20.0 * second) / (first + second)
    assert data(nn.attend(query, keys, entries)) == pytest.approx([expected], rel=1e-14)  # a few roundings


def test_attention_never_looks_ahead():
    rng = random.Random(3)
    attention = nn.Attention(4, 2, draw=nn.gaussian(1.0, rng))
    texts = [[values(drawn(4, i)) for i in order] for order in ((1, 2, 3), (1, 2, 9))]
    outs = []
    for text in texts:
        memory = nn.Memory()
        outs.append([data(attention(x, memory)) for x in text])
    assert outs[0][:2] == outs[1][:2]
    assert outs[0][2] != outs[1][2]


def test_attention_refuses_heads_of_unequal_size():
    with pytest.raises(vg.ValueArgumentError, match="multiple of n_head"):
        nn.Attention(16, 3)


def test_an_embedding_is_the_row_of_weights_itself():
    embedding = nn.Embedding(3, 2)
    assert embedding(1)[0] is embedding.weight[1][0]


def test_an_embedding_refuses_what_it_does_not_have():
    with pytest.raises(vg.IndexRangeError, match="index 3"):
        nn.Embedding(3, 2)(3)


def test_adding_vectors_of_different_length_is_refused():
    with pytest.raises(vg.ShapeError, match="length 1 and 2"):
        nn.add(values([1.0]), values([1.0, 2.0]))


def test_an_mlp_of_3_4_4_1_has_41_parameters_and_one_output():
    mlp = nn.MLP(3, [4, 4, 1], rng=random.Random(1))
    assert len(mlp.parameters()) == 41
    assert type(mlp([2.0, 3.0, -1.0])) is vg.Value


def test_a_layer_of_several_neurons_gives_a_list():
    assert len(nn.Layer(2, 3, rng=random.Random(1))([1.0, 2.0])) == 3


def test_an_mlp_with_a_layer_of_one_neuron_inside_works():
    assert type(nn.MLP(2, [1, 1], rng=random.Random(1))([1.0, 2.0])) is vg.Value


def test_a_neuron_is_relu_of_weights_times_inputs_plus_bias():
    neuron = nn.Neuron(2, rng=random.Random(1))
    neuron.w[0].data, neuron.w[1].data, neuron.b.data = 2.0, -1.0, 0.5
    assert neuron([1.0, 1.0]).data == 1.5
    assert neuron([-1.0, 1.0]).data == 0.0


def test_the_last_layer_of_an_mlp_has_no_relu():
    assert repr(nn.MLP(1, [1, 1])) == "MLP of [Layer of [ReLUNeuron(1)], Layer of [LinearNeuron(1)]]"


def test_the_same_seed_draws_the_same_network():
    a, b = (nn.MLP(3, [4, 1], rng=random.Random(5)).parameters() for _ in range(2))
    assert read_data(a) == read_data(b)


def test_without_an_rng_weights_come_from_pythons_shared_generator():
    random.seed(7)
    first = nn.Neuron(3)
    random.seed(7)
    assert data(first.w) == [random.uniform(-1.0, 1.0) for _ in range(3)]


def test_zero_grad_sets_every_grad_to_zero():
    mlp = nn.MLP(2, [2, 1], rng=random.Random(2))
    mlp([1.0, 1.0]).backward()
    mlp.zero_grad()
    assert all(p.grad == 0.0 for p in mlp.parameters())


def test_an_mlp_learns_xor():
    from valuegrad import optim

    mlp = nn.MLP(2, [8, 1], rng=random.Random(0))
    optimizer = optim.Adam(mlp.parameters(), 0.05)
    for _ in range(100):
        loss = vg.sum([(mlp([a, b]) - (a ^ b)) ** 2 for a in (0, 1) for b in (0, 1)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.data < 0.01


def test_a_neuron_refuses_another_number_of_inputs():
    with pytest.raises(vg.ShapeError, match=r"ReLUNeuron\(2\) got 3 inputs"):
        nn.Neuron(2)([1.0, 2.0, 3.0])


@pytest.mark.parametrize("make", [lambda: nn.Linear(0, 1), lambda: nn.Embedding(1, -1), lambda: nn.Neuron(0)])
def test_sizes_below_one_are_refused(make):
    with pytest.raises(vg.ValueArgumentError, match="expected 1 or more"):
        make()
