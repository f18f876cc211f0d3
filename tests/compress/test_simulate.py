"""What training for int8 simulates is what the int8 export does; training bears it better; no trace of it stays."""

from dataclasses import replace

import numpy
import pytest
import spacy
import torch
from spacy.training import Example
from torch.nn import functional

from spacy_llm_ie.compress.export import export_onnx
from spacy_llm_ie.compress.linear import find_linear
from spacy_llm_ie.compress.pack import Packing
from spacy_llm_ie.compress.parts import find_transformer
from spacy_llm_ie.compress.quantize import Known, quantize_products, round_to_int8
from spacy_llm_ie.compress.recover import imitate, recover
from spacy_llm_ie.compress.shrink import Removal, plan_packing, shrink
from spacy_llm_ie.compress.simulate import round_rows, round_whole, simulated_int8
from spacy_llm_ie.compress.states import relative_distance, token_vectors
from spacy_llm_ie.encode.runtimes import OnnxRuntime
from tests.compress.helpers import SENTENCES, make_examples, make_family, make_pipeline

from .test_backends import FAMILIES, inputs_of


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    make_pipeline(make_family(folder / "bert", "bert"), steps=30).to_disk(folder / "nlp")
    return folder / "nlp"


def make_encoder(family="bert", **settings):
    """A random encoder, its table of word pieces large enough to be rounded too."""
    make, config = FAMILIES[family]
    torch.manual_seed(0)
    return make(type(config).from_dict({**config.to_dict(), "vocab_size": 1100, **settings})).eval()


def run(encoder, given):
    real = torch.from_numpy(given["attention_mask"][..., None])
    return encoder(**{name: torch.from_numpy(value) for name, value in given.items()})[0] * real


def distance(one, other):
    return float(numpy.linalg.norm(one - other) / numpy.linalg.norm(other))


def run_int8(encoder, given, steps=None, packing=None):
    known = {name: Known(step) for name, step in (steps or {}).items()}
    session = OnnxRuntime(quantize_products(export_onnx(encoder, "token_type_ids" in given), known, packing), "int8", 1)
    return session.run(given) * given["attention_mask"][..., None]


def steps_for(encoder, given, share):
    """Steps of columns, of an encoder that is in no pipeline; some numbers are cut off."""
    found, handles = {}, []
    for name, layer in find_linear(encoder):
        handles.append(layer.register_forward_pre_hook(lambda _, inputs, name=name: found.update({name: inputs[0]})))
    with torch.no_grad():
        run(encoder, given)
    for handle in handles:
        handle.remove()
    return {name: values.abs().flatten(0, -2).quantile(share, dim=0).add(1e-3).numpy() / 127 for name, values in found.items()}


def test_a_layer_multiplies_what_int8_holds():
    torch.manual_seed(0)
    layer = torch.nn.Sequential(torch.nn.Linear(7, 5))
    values = torch.randn(2, 3, 7) * 10
    values[0, 1] = 0
    rows, weights = (numpy.multiply(*round_to_int8(m.detach().numpy(), 0)) for m in (values.reshape(-1, 7), layer[0].weight))
    bias = layer[0].bias.detach().numpy()
    with simulated_int8(layer), torch.no_grad():
        numpy.testing.assert_allclose(layer(values).reshape(-1, 5), rows @ weights.T + bias, atol=1e-5)
    steps = numpy.linspace(0.05, 0.2, 7, dtype="float32")
    with simulated_int8(layer, {"0": steps}), torch.no_grad():
        cut = numpy.clip(numpy.rint(values.numpy() / steps), -128, 127)
        weights = numpy.multiply(*round_to_int8(layer[0].weight.numpy() * steps, 0))
        numpy.testing.assert_allclose(layer(values), cut @ weights.T + bias, atol=1e-4)
    assert layer(values).shape == (2, 3, 5) and "forward" not in vars(layer[0])


def test_gradients_pass_the_rounding_and_stop_where_numbers_are_cut_off():
    values = torch.tensor([[0.3, -20.0, 5.0], [0.0, 0.0, 0.0]], requires_grad=True)
    weights = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    (round_rows(values) * weights).sum().backward()
    assert torch.equal(values.grad, weights)
    values.grad = None
    with simulated_int8(layer := torch.nn.Sequential(torch.nn.Linear(3, 2)), packing=Packing(numpy.zeros(5, bool))):
        layer(values.detach()).sum().backward()
    assert torch.equal(layer[0].weight.grad, round_rows(values.detach()).sum(0).expand(2, 3))
    (round_whole(values / 0.1) * weights).sum().backward()
    assert values.grad.tolist() == [[10, 0, 30], [40, 50, 60]]
    assert round_rows(values.detach().bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("family", FAMILIES)
def test_the_simulation_answers_as_the_export(family):
    encoder = make_encoder(family)
    given = inputs_of(3, 20, ("input_ids", "attention_mask", *(["token_type_ids"] if family in ("bert", "electra") else [])))
    with torch.no_grad():
        exact = run(encoder, given).numpy()
    steps, packing = steps_for(encoder, given, 0.99), Packing(numpy.arange(1100) % 3 == 0)
    for settings in ((None, None), (steps, None), (None, packing), (steps, packing)):
        int8 = run_int8(encoder, given, *settings)
        with simulated_int8(encoder, *settings), torch.no_grad():
            simulated = run(encoder, given).numpy()
        assert distance(int8, exact) > 0.002
        # A number half-way between two steps is rounded up or down by chance, as float sums have no fixed order.
        assert distance(simulated, int8) < 0.1 * distance(int8, exact)
        assert numpy.median(abs(simulated - int8)) < 1e-5


def test_no_trace_stays():
    encoder = make_encoder()
    given = inputs_of(2, 9, ("input_ids", "attention_mask"))
    names, before = list(encoder.state_dict()), run(encoder, given)
    weights = {name: value.clone() for name, value in encoder.state_dict().items()}
    with simulated_int8(encoder):
        assert list(encoder.state_dict()) == names
        assert not torch.equal(run(encoder, given), before)
    with pytest.raises(TypeError), simulated_int8(encoder):
        encoder(input_ids="no numbers")
    assert torch.equal(run(encoder, given), before)
    assert all(torch.equal(value, weights[name]) for name, value in encoder.state_dict().items())
    assert not any("forward" in vars(module) or module._forward_hooks for module in encoder.modules())


def test_an_encoder_that_learned_with_it_loses_less_as_int8():
    """Some columns are huge, as in trained encoders, so that rounding hurts; the old vectors are the targets."""
    encoder = make_encoder(initializer_range=0.2)
    given = inputs_of(8, 20, ("input_ids", "attention_mask"))
    with torch.no_grad():
        for layer in encoder.encoder.layer:
            layer.output.LayerNorm.weight[3] *= 30
        exact = run(encoder, given)
    before = distance(run_int8(encoder, given), exact.numpy())
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.0005)
    with simulated_int8(encoder):
        for _ in range(60):
            optimizer.zero_grad()
            functional.mse_loss(run(encoder, given), exact).backward()
            optimizer.step()
    assert distance(run_int8(encoder, given), exact.numpy()) < 0.7 * before


def test_recovery_judges_by_what_the_export_will_say(trained):
    nlp = spacy.load(trained)
    examples, transformer = make_examples(nlp), find_transformer(nlp).transformer
    layers = {name: module for name, module in transformer.named_modules() if isinstance(module, torch.nn.Linear)}
    steps = {name: numpy.full(module.in_features, 1e9) for name, module in layers.items()}
    update = imitate(spacy.load(trained))
    plain = recover(nlp, examples, examples, 1, update=update)[0].score
    with simulated_int8(transformer, steps):  # everything is rounded to zero
        blind = recover(nlp, examples, examples, 1, update=update)[0].score
    assert blind < plain - 0.1


@pytest.mark.parametrize(("aware", "bits"), [(False, 8), (True, 8), (False, 4), (True, 4)])
def test_shrinking_trains_with_it_if_told_or_if_weights_have_four_bits(trained, monkeypatch, aware, bits):
    nlp, teacher, seen = spacy.load(trained), spacy.load(trained), []
    transformer = find_transformer(nlp).transformer
    monkeypatch.setattr(
        "spacy_llm_ie.compress.shrink.recover",
        lambda *args, **kwargs: seen.append("forward" in vars(transformer.encoder.layer[0].output.dense)),
    )
    removal = Removal(heads=0.25, steps=5, quantize_aware=aware, bits=bits)
    assert shrink(nlp, teacher, removal, make_examples(nlp), make_examples(nlp))
    assert seen == [aware or bits == 4] == [removal.learns_rounding]
    assert not replace(removal, steps=0).learns_rounding
    expected = {"heads": 0.25, "steps": 5, **({"quantize_aware": True} if aware else {}), **({"bits": 4} if bits == 4 else {})}
    assert removal.settings() == expected
    packing = plan_packing(nlp, removal, make_examples(nlp))
    if bits == 4:  # all pieces that the training data has are common
        tokenizer = find_transformer(nlp).tokenizer
        ids = {
            i
            for example in make_examples(nlp)
            for i in tokenizer(example.reference.text, add_special_tokens=False)["input_ids"]
        }
        assert set(numpy.flatnonzero(~packing.rare)) == ids
    else:
        assert packing is None
    assert not Removal(steps=5, quantize_aware=True).is_empty and Removal(steps=5).is_empty


def test_only_the_encoder_learns_and_it_needs_no_annotation(trained):
    nlp, teacher = spacy.load(trained), spacy.load(trained)
    texts = [Example(nlp.make_doc(text), nlp.make_doc(text)) for text in SENTENCES]
    heads = {name: pipe.to_bytes(exclude=["vocab"]) for name, pipe in nlp.pipeline if name != "transformer"}
    docs = [nlp.make_doc(text) for text in SENTENCES]
    removal, away = Removal(neurons=0.5, steps=20, bits=4), []
    for change in (replace(removal, steps=0), removal):
        nlp = spacy.load(trained)
        shrink(nlp, teacher, change, texts, make_examples(nlp), texts if change.steps else None)
        with simulated_int8(find_transformer(nlp).transformer, packing=plan_packing(nlp, change, texts)), torch.no_grad():
            found, target = (token_vectors(find_transformer(one), docs) for one in (nlp, teacher))
        away.append(float(relative_distance(found, target)))
        assert {name: nlp.get_pipe(name).to_bytes(exclude=["vocab"]) for name in heads} == heads
    assert away[1] < 0.7 * away[0]
    shrink(nlp, teacher, replace(removal, steps=2, gold=True), make_examples(nlp), make_examples(nlp), texts)
    assert all(nlp.get_pipe(name).to_bytes(exclude=["vocab"]) != heads[name] for name in ("ie_ner", "ie_relations"))


def test_it_needs_steps_and_something_to_learn_from(trained):
    nlp = spacy.load(trained)
    examples = make_examples(nlp)
    for removal, train, missing in (
        (Removal(quantize_aware=True), examples, "--steps"),
        (Removal(quantize_aware=True, steps=5), [], "--train"),
    ):
        with pytest.raises(ValueError, match=f"IE-E535.*{missing}"):
            shrink(nlp, nlp, removal, train, examples)
