"""Quantizers in networks that are not ours: where they go, that they round, and that else nothing changes."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lpsgld
from lpsgld import quantize_network
from lpsgld.bnn.network.quantizing import remove_quantizers
from lpsgld.formats import FormatError
from lpsgld.rounding import Quantizer

BLOCK = "block(8,-1)"


class Attention(nn.Module):
    """As in many a small language model."""

    def __init__(self, gqa: bool = False):
        super().__init__()
        self.position = nn.Parameter(torch.randn(5, 8))
        self.projected = nn.Linear(8, 16 if gqa else 24)
        self.out = nn.Linear(8, 8)
        self.gqa = gqa

    def forward(self, x):
        q, k, v = self.projected(x + self.position).split((8, 4, 4) if self.gqa else 8, -1)
        q, k, v = (part.unflatten(-1, (-1, 2)).transpose(1, 2) for part in (q, k, v))
        x = F.scaled_dot_product_attention(q, k, value=v, is_causal=True, enable_gqa=self.gqa)
        return self.out(x.transpose(1, 2).flatten(2))


def language_model(**options) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(11, 8), Attention(**options), nn.LayerNorm(8), nn.Linear(8, 11))


def tensors(output) -> list[torch.Tensor]:
    """All tensors in what a module returns."""
    if isinstance(output, torch.Tensor):
        return [output]
    return [x for part in output if isinstance(part, tuple | torch.Tensor) for x in tensors(part)]


def assert_same(ours, theirs, where=...):
    for x, y in zip(tensors(ours), tensors(theirs), strict=True):
        torch.testing.assert_close(x[where], y[where], atol=2e-6, rtol=1e-5)


# ---- what is written out computes what torch computes -------------------------------------------------------------

RECURRENT = [
    (kind, options)
    for kind in (nn.LSTM, nn.GRU, nn.RNN)
    for options in ({}, dict(num_layers=2, bidirectional=True), dict(batch_first=True, bias=False))
] + [(nn.LSTM, dict(proj_size=3, num_layers=2, bidirectional=True)), (nn.RNN, dict(nonlinearity="relu"))]


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize(("kind", "options"), RECURRENT)
def test_recurrent_layers_written_out_are_torchs(kind, options):
    torch.manual_seed(0)
    layer, x = kind(4, 5, **options), torch.randn(7, 3, 4)
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(7, 3, 4), [2, 7, 4], enforce_sorted=False)
    ordered = nn.utils.rnn.pack_padded_sequence(torch.randn(7, 3, 4), [7, 4, 1])
    start = tuple(torch.randn_like(s) for s in tensors(layer(x)[1]))
    start = start if kind is nn.LSTM else start[0]
    inputs = [(x,), (x, start), (x[:, 0],), (packed,), (ordered,)]
    expected = [layer(*given) for given in inputs]
    slope = torch.autograd.grad(tensors(expected[0])[0].square().sum(), list(layer.parameters()))
    quantize_network(layer)
    found = [layer(*given) for given in inputs]
    assert_same(tuple(found), tuple(expected))
    for ours, theirs in zip(found[3:], expected[3:], strict=True):
        for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
            assert str(getattr(ours[0], name)) == str(getattr(theirs[0], name))
    assert_same(torch.autograd.grad(tensors(found[0])[0].square().sum(), list(layer.parameters())), slope)


def test_layers_between_recurrent_ones_drop_out():
    torch.manual_seed(0)
    layer, x = nn.GRU(4, 5, num_layers=2, dropout=0.5), torch.randn(7, 3, 4)
    quantize_network(layer)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    assert torch.equal(layer.eval()(x)[0], layer(x)[0])


@pytest.mark.parametrize(
    "options",
    [{}, dict(batch_first=True, add_bias_kv=True, add_zero_attn=True), dict(kdim=6, vdim=10, bias=False)],
    ids=["plain", "extended", "unequal"],
)
def test_attention_written_out_is_torchs(options):
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(8, 2, **options)
    q, k, v = torch.randn(3, 3, 8), torch.randn(3, 3, options.get("kdim", 8)), torch.randn(3, 3, options.get("vdim", 8))
    padding = torch.tensor([[0, 0, 1], [0, 0, 0], [0, 1, 1]]).bool()
    future = torch.triu(torch.ones(3, 3), 1).bool()
    added = torch.zeros(3, 3).masked_fill(future, -torch.inf)
    settings = [
        {},
        dict(key_padding_mask=padding),
        dict(attn_mask=future, is_causal=True),
        dict(attn_mask=torch.randn(6, 3, 3), average_attn_weights=False),
        dict(attn_mask=added, key_padding_mask=torch.zeros(3, 3).masked_fill(padding, -torch.inf), need_weights=False),
    ]
    expected = [layer(q, k, v, **each) for each in settings] + [layer(q[0], k[0], v[0], key_padding_mask=padding[0])]
    quantize_network(layer)
    found = [layer(q, k, v, **each) for each in settings] + [layer(q[0], k[0], v[0], key_padding_mask=padding[0])]
    assert_same(tuple(found), tuple(expected))


@pytest.mark.parametrize("gqa", [False, True])
def test_attention_in_a_module_of_ones_own_is_what_it_was(gqa):
    net, words = language_model(gqa=gqa), torch.randint(11, (2, 5))
    expected = net(words)
    quantize_network(net)
    assert_same(net(words), expected)


@pytest.mark.parametrize("mask", [torch.bool, torch.float32])
def test_a_query_that_may_see_nothing_gets_nothing(mask):
    """As torch has it where the weights are not asked for, instead of NaN; and it moves no gradient."""
    torch.manual_seed(0)
    layer, x = nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(2, 3, 8)
    padding = torch.tensor([[0, 0, 1], [1, 1, 1]]).bool()
    padding = padding if mask is torch.bool else torch.zeros(2, 3).masked_fill(padding, -torch.inf)
    expected = layer(x, x, x, key_padding_mask=padding, need_weights=False)[0]
    slopes = torch.autograd.grad(expected.square().sum(), list(layer.parameters()))
    quantize_network(layer)
    found = layer(x, x, x, key_padding_mask=padding, need_weights=False)[0]
    assert_same(found, expected)
    assert_same(torch.autograd.grad(found.square().sum(), list(layer.parameters())), slopes)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.parametrize("after", [nn.MultiheadAttention, nn.Linear])
def test_an_encoder_computes_with_its_parts_also_where_torch_has_a_short_cut(after):
    """In eval mode and without gradients, torch computes a whole layer at once, on nested tensors where some is pad."""
    torch.manual_seed(0)
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2).eval()
    x, padding = torch.randn(2, 4, 8), torch.tensor([[0, 0, 0, 1], [0, 0, 0, 0]]).bool()
    with torch.no_grad():
        expected = net(x, src_key_padding_mask=padding)
        sites = quantize_network(net, after=after)
        called = []
        for quantizer in sites.quantizers.values():
            quantizer.register_forward_hook(lambda *_: called.append(1))
        assert_same(net(x, src_key_padding_mask=padding), expected, where=~padding)
    assert len(called) == len(sites.quantizers) > 0


# ---- everything is rounded ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "net", [nn.LSTM(4, 5), nn.GRU(4, 5), nn.RNN(4, 5), nn.Sequential(nn.Conv1d(7, 2, 1), nn.BatchNorm1d(2))]
)
def test_outputs_are_on_the_grid_and_errors_come_back_rounded(net):
    net = copy.deepcopy(net)
    sites = quantize_network(net, "fixed(8,4)", "fixed(8,6)", rounding="nearest")
    rounded = []
    for quantizer in sites.quantizers.values():
        quantizer.register_forward_hook(lambda _, given, out: rounded.append(out))
    x = torch.randn(3, 7, 4)
    for out in tensors(net(x)):
        assert torch.equal(lpsgld.quantize(out, "fixed(8,4)", "nearest"), out)
    assert len(rounded) == (3 if isinstance(net, nn.RNNBase) else 1) * len(sites.quantizers)
    for y in rounded:
        assert torch.equal(lpsgld.quantize(y, "fixed(8,4)", "nearest"), y)


def test_every_operand_of_attention_is_rounded():
    layer, x = nn.MultiheadAttention(8, 2), torch.randn(3, 4, 8)
    sites = quantize_network(layer, "fixed(8,5)", after=nn.MultiheadAttention)
    seen = {}
    for name, quantizer in sites.quantizers.items():
        quantizer.register_forward_hook(lambda _, given, out, name=name: seen.__setitem__(name, out))
    out, weights = layer(x, x, x, average_attn_weights=False)
    assert list(seen) == ["q", "k", "v", "weights", "output"]
    assert torch.equal(seen["weights"], weights) and torch.equal(seen["output"].transpose(0, 1), out)
    for y in seen.values():
        assert torch.equal(lpsgld.quantize(y, "fixed(8,5)", "nearest"), y)
    assert seen["q"].shape == (4, 2, 3, 4)


def test_the_error_that_a_part_computes_with_is_rounded():
    """That of a linear layer's weight is errorᵀ·input."""
    torch.manual_seed(0)
    net, x = nn.Linear(4, 3), torch.randn(6, 4)
    quantize_network(net, None, "fixed(8,5)", rounding="nearest")
    error = torch.randn(6, 3)
    net(x).backward(error)
    torch.testing.assert_close(net.weight.grad, lpsgld.quantize(error, "fixed(8,5)", "nearest").T @ x)


# ---- which parts ---------------------------------------------------------------------------------------------------


def test_the_sites_of_a_language_model_and_what_is_not_reached():
    sites = quantize_network(language_model(), BLOCK)
    inside = [f"1.{kind}" for kind in ("q", "k", "v", "weights", "output")]
    assert list(sites.quantizers) == ["0", *inside, "1.projected", "1.out", "2", "3"]
    assert sites.unreached == {"1": "computes with position itself"}


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_what_a_module_computes_by_functions_is_told():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.weight = nn.Linear(3, 3), nn.Parameter(torch.zeros(3, 3))

        def forward(self, x):
            return F.softmax(F.conv1d(self.linear(x), self.weight[..., None]), -1)

    net = nn.Sequential(Own(), torch.jit.script(nn.Linear(3, 3)))
    assert quantize_network(net, BLOCK).unreached == {
        "0": "computes with weight itself and calls conv1d, softmax itself",
        "1": "is compiled by TorchScript",
    }


@pytest.mark.parametrize(
    ("after", "names"),
    [
        (nn.Linear, ["1.projected", "1.out", "3"]),
        ("1.*", ["1.projected", "1.out"]),
        (["*.out", nn.LayerNorm], ["1.out", "2"]),
        (lambda name, part: name == "2", ["2"]),
        ("1", [f"1.{kind}" for kind in ("q", "k", "v", "weights", "output")]),
    ],
)
def test_parts_are_chosen_by_type_pattern_or_function(after, names):
    assert list(quantize_network(language_model(), BLOCK, after=after).quantizers) == names


def test_after_a_sequential_is_after_its_last_part():
    net = nn.Sequential(nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Tanh())), nn.Linear(3, 1))
    assert list(quantize_network(net, BLOCK, after="0").quantizers) == ["0.1.1"]


def test_inside_of_torchs_attention_nothing_is_rounded_twice():
    net = nn.TransformerEncoderLayer(8, 2, 16)
    assert not any("out_proj" in name for name in quantize_network(net, BLOCK).quantizers)
    assert sum(isinstance(m, Quantizer) for m in net.modules()) == 5 + 4


class Derived(nn.LSTM):
    """Which may compute anything."""

    kinds = "a name that is also ours"


def test_of_a_class_derived_from_one_that_is_written_out_the_output_is_rounded():
    layer, x = Derived(3, 4), torch.randn(5, 2, 3)
    found = quantize_network(layer, "fixed(8,4)")
    assert list(found.quantizers) == [""]
    assert found.unreached == {"": "derives from LSTM: only what it returns is rounded"} and type(layer) is Derived
    for y in tensors(layer(x)):
        assert torch.equal(lpsgld.quantize(y, "fixed(8,4)", "nearest"), y)


def test_a_class_derived_from_torchs_computes_with_its_parameters():
    """As `models.Projection` does: that is no part of its own."""

    class Layer(nn.Linear):
        def forward(self, x):
            return super().forward(2 * x)

    assert quantize_network(nn.Sequential(Layer(3, 2)), BLOCK).unreached == {}


# ---- a network remains one -----------------------------------------------------------------------------------------


def test_names_stay_copies_are_alone_and_all_can_be_undone():
    net, words = language_model(), torch.randint(11, (2, 5))
    names, before, kinds = list(net.state_dict()), net(words), [type(m) for m in net.modules()]
    quantize_network(net, BLOCK, after=nn.Linear)
    quantize_network(net, BLOCK, after=nn.LayerNorm)  # another format might stand here
    quantize_network(net, BLOCK, after="1")
    twin = copy.deepcopy(net)
    assert list(net.state_dict()) == names and not torch.equal(net(words), before)
    remove_quantizers(net)
    assert torch.equal(net(words), before) and [type(m) for m in net.modules()] == kinds
    assert not torch.equal(twin(words), before)


@pytest.mark.parametrize("kind", [nn.MultiheadAttention, nn.LSTM, nn.GRU, nn.RNN, Derived])
def test_a_part_is_of_its_class_again(kind):
    part = kind(4, 2)
    x = [torch.randn(3, 1, 4)] * (3 if kind is nn.MultiheadAttention else 1)
    before = part(*x)
    quantize_network(part, BLOCK)
    remove_quantizers(part)
    assert type(part) is kind and not hasattr(part, "quantizers")
    for now, then in zip(tensors(part(*x)), tensors(before), strict=True):
        assert torch.equal(now, then)


def test_a_generator_repeats_the_rounding_and_eval_rounds_unless_told_otherwise():
    words, found = torch.randint(11, (2, 5)), []
    for _ in range(2):
        net = language_model().eval()
        quantize_network(net, BLOCK, generator=torch.Generator().manual_seed(3))
        found += [net(words), net(words)]
    assert torch.equal(found[0], found[2]) and torch.equal(found[1], found[3]) and not torch.equal(*found[:2])
    net = language_model()
    quantize_network(net, BLOCK, evaluation="nearest")
    assert not torch.equal(net(words), net(words))
    assert torch.equal(net.eval()(words), net(words))


@pytest.mark.slow
def test_a_compiled_network_rounds_in_one_program():
    torch.manual_seed(0)
    net, words = language_model(), torch.randint(11, (2, 5))
    net.append(nn.TransformerEncoderLayer(11, 1, 4, dropout=0.0))
    quantize_network(net, "fixed(8,4)", "fixed(8,6)", rounding="nearest")
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(words), net(words), atol=0, rtol=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_recurrent_layers_are_not_compiled_and_round_all_the_same():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(4, 4), nn.GRU(4, 3)), torch.randn(5, 2, 4)
    quantize_network(net, "fixed(8,4)", "fixed(8,6)", rounding="nearest")
    compiled = torch.compile(net, backend="aot_eager")
    torch.testing.assert_close(compiled(x)[0], net(x)[0], atol=0, rtol=0)


# ---- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "told"),
    [
        ("blocks.*", r"after: 'blocks.\*' matches no part of Sequential, which has 0, 1, 1.projected, 1.out, 2, 3"),
        (nn.Conv2d, "after: Conv2d matches no part"),
        ([nn.Linear, lambda name, part: False], "after: <lambda> matches no part"),
    ],
)
def test_a_choice_that_matches_nothing_is_named_and_nothing_is_changed(after, told):
    net = language_model()
    with pytest.raises(ValueError, match=told):
        quantize_network(net, BLOCK, after=after)
    assert not any(isinstance(m, Quantizer) for m in net.modules())


def test_what_cannot_be_is_refused_and_nothing_is_changed():
    net = language_model()
    with pytest.raises(FormatError):
        quantize_network(net, "block(8)")
    with pytest.raises(ValueError, match='must be "stochastic" or "nearest"'):
        quantize_network(net, BLOCK, evaluation="up")
    with pytest.raises(ValueError, match="ReLU has no part of a known type"):
        quantize_network(nn.ReLU(), BLOCK)
    with pytest.raises(ValueError, match=r"the generator is on cpu, but weight on meta"):
        quantize_network(nn.Linear(2, 2, device="meta"), BLOCK, generator=torch.Generator())
    assert not any(isinstance(m, Quantizer) for m in net.modules())
    net[3].quantizers = None
    with pytest.raises(ValueError, match="3 has `quantizers` of its own"):
        quantize_network(net, BLOCK)
    assert not any(isinstance(m, Quantizer) for m in net.modules())
    del net[3].quantizers
    quantize_network(net, BLOCK)
    with pytest.raises(ValueError, match="1.projected is quantized already: call remove_quantizers first"):
        quantize_network(net, BLOCK)
