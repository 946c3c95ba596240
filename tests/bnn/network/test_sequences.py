"""Networks of words: shapes, what may see what, where they round, and that they learn."""

import pytest
import torch

from lpsgld import Quantizer
from lpsgld.bnn.data.arrays import Tensors
from lpsgld.bnn.network import sequences
from lpsgld.bnn.training import loop
from lpsgld.bnn.training.recipes import Recipe, RecipeError

SIZES = (11, 9, 5)  # words, length, classes


def net(name: str, everywhere: bool = True, **options) -> torch.nn.Module:
    torch.manual_seed(0)
    return sequences.build(name, *SIZES, everywhere=everywhere, width=8, **options).eval()


def rows(count: int = 3) -> torch.Tensor:
    return torch.randint(11, (count, 9), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("fmt", [None, "block(8,0)"])
@pytest.mark.parametrize("name", sequences.MODELS)
def test_one_answer_a_place_or_one_a_text(name, fmt):
    for everywhere, shape in ((True, (3, 9, 5)), (False, (3, 5))):
        out = net(name, everywhere, activation=fmt, error=fmt)(rows())
        assert out.shape == shape and out.isfinite().all()


@pytest.mark.parametrize("name", sequences.MODELS)
def test_no_place_knows_a_later_word_and_each_knows_the_earlier_ones(name):
    model, x = net(name), rows(1)
    for place in (0, 4, 8):
        changed = x.clone()
        changed[0, place] = (x[0, place] + 1) % 11
        with torch.no_grad():
            moved = (model(changed) - model(x)).abs().sum(-1)[0]
        assert torch.equal(moved[:place], torch.zeros(place)) and (moved[place:] > 0).all()


@pytest.mark.parametrize("fmt", [None, "fixed(16,12)"])
def test_written_out_they_compute_what_torch_does(fmt):
    """16 bits are fine enough that both agree to a rounding of each of the sites."""
    for name in sequences.MODELS:
        with torch.no_grad():
            torch.testing.assert_close(net(name, activation=fmt)(rows()), net(name)(rows()), rtol=0, atol=0.02)


def test_the_sites():
    def names(name, **options):
        model = net(name, activation="block(8,0)", **options)
        return [n.replace(".quantizers", "") for n, m in model.named_modules() if isinstance(m, Quantizer)]

    assert names("lstm") == ["words.output", "lstm.gates", "lstm.cell", "lstm.output", "linear.output"]
    paper, residual = names("transformer"), names("transformer", sites="residual")
    attention = [f"blocks.1.self_attn.{kind}" for kind in ("q", "k", "v", "weights", "output")]
    assert set(attention) < set(paper) and "blocks.1.norm1.output" in paper
    assert set(residual) - set(paper) == {"start.output", "blocks.0.output", "blocks.1.output"}
    assert not [m for m in net("lstm").modules() if isinstance(m, Quantizer)]


def counting(everywhere: bool) -> Tensors:
    """Rows that go up by 1 or by 2, modulo 11, and what comes next; or words below 7, or above 3: which of the two."""
    start, by = torch.arange(11).repeat(20), torch.arange(220) % 2
    rows = (start[:, None] + (1 + by[:, None]) * torch.arange(10)) % 11
    if not everywhere:
        rows = torch.randint(7, (220, 10), generator=torch.Generator().manual_seed(0)) + 4 * by[:, None]
    labels, inputs = rows[:, 1:] if everywhere else by, rows[:, :-1]
    classes = tuple(map(str, range(11 if everywhere else 2)))
    return Tensors("counting", inputs, labels, inputs[:40], labels[:40], classes, tuple(map(str, range(11))), "word")


@pytest.mark.parametrize("everywhere", [True, False])
@pytest.mark.parametrize("name", sequences.MODELS)
def test_in_8_bits_they_learn(tmp_path, name, everywhere):
    """The first word of a row does not say how it goes on: 1 of 9 places is a guess."""
    fmts = dict.fromkeys(("weight", "grad", "activation", "error"), "block(8,0)")
    recipe = Recipe(model=name, width=16, epochs=15, batch_size=22, lr=0.5, accumulator="vc", samples=2, **fmts)
    run = loop.train(recipe, tmp_path, dataset=counting(everywhere), progress=False, device="cpu")
    assert run.history[-1]["test_error"] < (0.2 if everywhere else 0.1)


def test_images_are_no_words(tmp_path, digits, small):
    with pytest.raises(RecipeError, match="a model 'lstm' reads words of a vocabulary, but digits has images of shape"):
        loop.train(small.override(model="lstm"), tmp_path, dataset=digits, progress=False, device="cpu")
