"""Packed tensors come back bit for bit, and damaged files are refused."""

import copy

import pytest
import safetensors.torch
import torch

import lpsgld
from lpsgld import formats, storage
from lpsgld.bnn.network import models
from lpsgld.storage import StorageError

FORMATS = [
    ("fixed(8,3)", torch.int8),
    ("fixed(8,8,symmetric)", torch.int8),
    ("fixed(1,1)", torch.int8),
    ("fixed(9,4)", torch.int16),
    ("fixed(24,10)", torch.int32),
    ("block(8,0)", torch.int8),
    ("block(8,-1)", torch.int8),
    ("block(2,1)", torch.int8),
    ("block(16,0)", torch.int16),
    ("float(4,3)", torch.int8),
    ("float(5,2)", torch.int8),
    ("float(1,1)", torch.int8),
    ("float(8,7)", torch.int16),
    ("float(8,23)", torch.int32),
]


@pytest.mark.parametrize(("text", "dtype"), FORMATS)
@pytest.mark.parametrize("shape", [(6, 5, 3, 3), (40, 3), (1, 1)])
@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e-3, 1.0, 1e4])
def test_unpack_returns_the_identical_tensor(text, dtype, shape, scale):
    fmt = formats.parse(text)
    generator = torch.Generator().manual_seed(0)
    x = lpsgld.quantize(torch.randn(shape, generator=generator) * scale, fmt, generator=generator)
    packed = storage.pack(x, fmt)
    assert packed.codes.dtype == dtype
    assert torch.equal(storage.unpack(packed), x)


@pytest.mark.parametrize("text", ["float(4,3)", "float(5,2)", "float(3,4)", "float(1,6)", "float(2,2)"])
def test_every_float_code_is_used_once(text):
    fmt = formats.parse(text)
    bits = 1 + fmt.exp + fmt.man
    codes = torch.arange(2**bits).to(torch.int8)
    values = storage.unpack(storage.Packed(fmt, codes))
    assert len(set(values.tolist())) == 2**bits - 1  # two zeros
    assert torch.equal(lpsgld.quantize(values, fmt), values)
    assert torch.equal(storage.pack(values, fmt).codes, codes)  # negative zero keeps its code


def test_block_exponents_are_one_a_block():
    x = lpsgld.quantize(torch.randn(4, 3, 2, 2), formats.parse("block(8,0)"))
    assert storage.pack(x, formats.parse("block(8,0)")).scales[0].shape == (4,)
    whole = formats.parse("block(8,-1)")
    assert storage.pack(lpsgld.quantize(x, whole), whole).scales[0].shape == (1,)


def test_a_tensor_from_variance_corrected_rounding_packs():
    fmt = formats.parse("block(8,0)")
    generator = torch.Generator().manual_seed(0)
    for variance in (1e-8, 1e-4, 1.0):
        x = lpsgld.vc_quantize(torch.randn(64, 9, generator=generator), variance, fmt, generator)
        assert torch.equal(storage.unpack(storage.pack(x, fmt)), x)


def test_zeros_scalars_and_empty_tensors_pack():
    for text, _ in FORMATS:
        fmt = formats.parse(text)
        for x in (torch.zeros(3, 4), torch.zeros(0, 4)):
            assert torch.equal(storage.unpack(storage.pack(x, fmt)), x)
    scalar = torch.tensor(0.5)
    assert torch.equal(storage.unpack(storage.pack(scalar, formats.parse("block(8,0)"))), scalar)


def test_full_precision_packs_as_it_is():
    x = torch.randn(3, 4).T
    assert torch.equal(storage.unpack(storage.pack(x, None)), x)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1, "fixed(8,3)"), (16.0, "fixed(8,3)"), (float("nan"), "block(8,0)"), (1e9, "float(4,3)"), (0.3, "float(4,3)")],
)
def test_a_value_off_the_grid_is_refused(value, text):
    with pytest.raises(StorageError, match=r"at index \(1, 0\) is not a number of the format"):
        storage.pack(torch.tensor([[0.0], [value]]), formats.parse(text))


def test_an_unclamped_value_that_needs_more_bits_is_refused():
    with pytest.raises(StorageError, match="beyond the 8 bits"):
        storage.pack(torch.tensor([1000.0]), formats.parse("fixed(8,3,unclamped)"))


def test_only_float32_packs():
    with pytest.raises(TypeError, match="float64"):
        storage.pack(torch.zeros(2, dtype=torch.float64), None)


# ---- samples ---------------------------------------------------------------------------------------------------


def network(width: int, weight: str) -> torch.nn.Module:
    """A ResNet-18 whose parameters lie on their grid and whose buffers are not those of a fresh network."""
    torch.manual_seed(0)
    model = models.build("resnet18", (3, 8, 8), 10, width=width)
    lpsgld.SGLD(model.named_parameters(), 0.5, num_data=10, weight=formats.parse(weight))
    model(torch.randn(4, 3, 8, 8))
    return model


@pytest.fixture
def sample(tmp_path):
    path = tmp_path / "0001.safetensors"
    model = network(4, "block(8,0)")
    storage.save_sample(path, model, formats.parse("block(8,0)"), {"lr": 0.5, "weight": "block(8,0)"})
    return path, model


@pytest.mark.parametrize("weight", ["block(8,0)", "fixed(8,8)", "float(4,3)", "full"])
def test_a_sample_comes_back_whole(tmp_path, weight):
    model = network(4, weight)
    storage.save_sample(tmp_path / "s", model, formats.parse(weight), {"seed": 3})
    loaded = storage.load_sample(tmp_path / "s")
    assert loaded.recipe == {"seed": 3} and formats.name(loaded.weight) == weight
    state = model.state_dict()
    assert loaded.state.keys() == state.keys()
    assert all(torch.equal(loaded.state[name], state[name]) for name in state)


@pytest.mark.parametrize("weight", ["block(8,0)", "fixed(8,8)"])
def test_a_sample_takes_little_more_than_a_quarter_of_float32(tmp_path, weight):
    model = network(32, weight)
    storage.save_sample(tmp_path / "s", model, formats.parse(weight), {})
    full = len(safetensors.torch.save(model.state_dict()))
    assert (tmp_path / "s").stat().st_size <= 0.27 * full  # 0.251 at width 64


def test_the_parameter_off_its_grid_is_named(tmp_path):
    model = network(4, "full")
    with pytest.raises(StorageError, match="parameter conv1.weight"):
        storage.save_sample(tmp_path / "s", model, formats.parse("fixed(8,8)"), {})
    assert not (tmp_path / "s").exists()


def test_equal_samples_are_equal_files(tmp_path):
    for name in ("a", "b"):
        storage.save_sample(tmp_path / name, network(4, "block(8,0)"), formats.parse("block(8,0)"), {"lr": 0.5})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


class Tied(torch.nn.Module):
    """An embedding whose matrix is also the last layer's, and buffers of which one is not for keeping."""

    def __init__(self):
        super().__init__()
        self.embedding, self.norm = torch.nn.Embedding(7, 4), torch.nn.LayerNorm(4)
        self.last = torch.nn.Linear(4, 7)
        self.last.weight = self.embedding.weight
        self.register_buffer("mask", torch.ones(3, dtype=torch.bool))
        self.register_buffer("again", self.mask)
        self.register_buffer("view", torch.arange(6.0)[2:])
        self.register_buffer("scratch", torch.zeros(2), persistent=False)


def stepped(net, groups, **settings):
    optimizer = lpsgld.SGLD(groups, 0.1, num_data=10, **settings)
    for p in net.parameters():
        p.grad = torch.ones_like(p) if p.requires_grad else None
    optimizer.step()
    return optimizer


def assert_comes_back(path, net):
    fresh = type(net)() if isinstance(net, Tied) else copy.deepcopy(net)
    state = storage.load_sample(path).state
    fresh.load_state_dict(state)  # strict: no name is missing, none too many
    wanted = net.state_dict()
    assert state.keys() == wanted.keys() and all(torch.equal(fresh.state_dict()[k], wanted[k]) for k in wanted)
    assert all(state[k].dtype == wanted[k].dtype for k in wanted)


def test_tied_weights_and_buffers_that_are_not_kept_come_back(tmp_path):
    net = Tied()
    stepped(net, net.named_parameters(), weight="block(8,0)")
    storage.save_sample(tmp_path / "s", net, "block(8,0)", {})
    assert_comes_back(tmp_path / "s", net)
    state = storage.load_sample(tmp_path / "s").state
    assert state["last.weight"] is state["embedding.weight"]
    names = safetensors.safe_open(tmp_path / "s", "pt").keys()
    assert "codes/embedding.weight" in names and "codes/last.weight" not in names


def test_groups_of_several_formats_are_one_sample(tmp_path):
    net = Tied()
    net.last.bias.requires_grad_(False)
    groups = [
        {"params": [net.embedding.weight], "weight": "block(6,0)"},
        {"params": [*net.norm.parameters()]},
        {"params": [net.last.bias], "weight": "fixed(4,2)"},
    ]
    optimizer = stepped(net, groups)
    weights = optimizer.weights(net)
    assert weights == {"embedding.weight": "block(6,0)", "norm.weight": "full", "norm.bias": "full"}
    storage.save_sample(tmp_path / "s", net, weights, {"seed": 1})
    assert_comes_back(tmp_path / "s", net)
    assert storage.load_sample(tmp_path / "s").weight["embedding.weight"] == formats.parse("block(6,0)")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("weight", ["fixed(8,3)", "block(4,0)", "full"])
def test_parameters_of_other_types_come_back_in_them(tmp_path, dtype, weight):
    net = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.BatchNorm1d(3)).to(dtype)
    stepped(net, net.parameters(), weight=weight)
    storage.save_sample(tmp_path / "s", net, weight, {})
    assert_comes_back(tmp_path / "s", net)


def test_float64_numbers_beside_the_grid_are_refused(tmp_path):
    net = torch.nn.Linear(2, 2).double()
    torch.nn.init.constant_(net.weight, 0.5 + 2.0**-40)
    with pytest.raises(StorageError, match="parameter weight holds torch.float64 numbers"):
        storage.save_sample(tmp_path / "s", net, "fixed(8,3)", {})


def test_a_misspelt_parameter_is_told(tmp_path):
    with pytest.raises(StorageError, match='no parameter .wieght.*Did you mean "weight"'):
        storage.save_sample(tmp_path / "s", torch.nn.Linear(2, 2), {"wieght": "fixed(8,3)"}, {})


def test_a_state_that_is_no_tensor_is_refused(tmp_path):
    class Extra(torch.nn.Linear):
        def get_extra_state(self):
            return {"a": 1}

    net = Extra(2, 2)
    with pytest.raises(StorageError, match="_extra_state is dict"):
        storage.save_sample(tmp_path / "s", net, None, {})


# ---- bad files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(sample, keep):
    path, _ = sample
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StorageError, match="truncated"):
        storage.load_sample(path)


def test_a_file_that_is_replaced_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    path, loaded, coming = tmp_path / "checkpoint", storage._loaded, [2, 3]

    def write(epoch: int) -> None:
        storage.save_tensors(path, "checkpoint", {"w": torch.ones(epoch)}, {"epoch": epoch})

    def mixed(*args):
        if not coming:
            return loaded(*args)
        write(coming.pop(0))
        raise StorageError("the header of one file, the tensors of the next")

    write(1)
    monkeypatch.setattr(storage, "_loaded", mixed)
    tensors, meta = storage.load_tensors(path, "checkpoint")
    assert meta["epoch"] == 3 and tensors["w"].shape == (3,)


@pytest.mark.parametrize("place", [-1, -5000, -20000])
def test_a_changed_byte_is_noticed(sample, place):
    path, _ = sample
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageError, match="changed after it was written"):
        storage.load_sample(path)


@pytest.mark.parametrize(
    ("old", "new"), [(rb"\"lr\": 0.5", rb"\"lr\": 0.6"), (rb"{\"kind\"", rb"!\"kind\""), (b"sha256", b"sha255")]
)
def test_changed_metadata_is_noticed(sample, old, new):
    path, _ = sample
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))
    with pytest.raises(StorageError, match="changed after it was written"):
        storage.load_sample(path)


def test_foreign_files_are_refused(tmp_path):
    storage.save_tensors(tmp_path / "lacking", "sample", {"w": torch.zeros(2)}, {"weight": None})
    (tmp_path / "text").write_text("hello, I am no tensor at all")
    safetensors.torch.save_file({"w": torch.zeros(2)}, tmp_path / "foreign")
    torch.save({"w": torch.zeros(2)}, tmp_path / "pickle")
    storage.save_tensors(tmp_path / "other", "checkpoint", {"w": torch.zeros(2)}, {})
    for name, message in [
        ("text", "no safetensors file"),
        ("pickle", "no safetensors file"),
        ("foreign", "not one written by lpsgld"),
        ("other", "holds a checkpoint"),
        ("missing", "no such file"),
        ("lacking", "lacks shapes, recipe. Draw it again"),
    ]:
        with pytest.raises(StorageError, match=message):
            storage.load_sample(tmp_path / name)
