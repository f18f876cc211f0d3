"""Heads, neurons and layers go for good; what is left is the same after saving, and knows what it knew after recovery."""

import subprocess
import sys
from functools import partial

import numpy
import pytest
import spacy
import torch
from spacy.training import Example

from spacy_llm_ie.compress.importance import Importance, _add_products, hooked, measure_importance, measure_loss, skipped
from spacy_llm_ie.compress.parts import FAMILIES, find_layers, find_transformer, measure
from spacy_llm_ie.compress.prune import Moments, choose_heads, choose_neurons, prune, refit
from spacy_llm_ie.compress.recover import imitate, recover
from spacy_llm_ie.compress.vocabulary import trim_vocabulary
from tests.compress.helpers import SENTENCES, answers, make_examples, make_family, make_pipeline
from tests.encode.helpers import get_vectors, make_nlp

pytestmark = pytest.mark.filterwarnings("ignore:.*IE-W")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The bytes of a trained pipeline on three layers of BERT."""
    folder = tmp_path_factory.mktemp("trained")
    nlp = make_pipeline(make_family(folder / "bert", "bert"))
    nlp.to_disk(folder / "nlp")
    return folder / "nlp"


@pytest.fixture
def nlp(trained):
    return spacy.load(trained)


@pytest.fixture(scope="module")
def importance(trained):
    loaded = spacy.load(trained)
    return measure_importance(loaded, make_examples(loaded))


def even(transformer):
    """An importance that lets heads and neurons with low numbers go first, but differently in each layer."""
    size = measure(transformer)
    rows = numpy.arange(len(size.heads))[:, None]
    heads = (numpy.arange(max(size.heads))[None] + rows) % max(size.heads) + rows / 100
    neurons = (numpy.arange(size.neurons)[None] * 7 + 5 * rows) % size.neurons
    return Importance(heads.astype(float), neurons.astype(float), tuple(range(len(size.heads) - 1)))


def vectors(nlp):
    return [get_vectors(doc) for doc in nlp.pipe(SENTENCES)]


@pytest.mark.parametrize("model_type", sorted(FAMILIES))
def test_what_is_gone_did_not_count_and_stays_gone(tmp_path, model_type):
    """With zeros in the place of what will go, the vectors are those of the smaller transformer, also after loading."""
    nlp = make_nlp(make_family(tmp_path / "model", model_type))
    transformer = find_transformer(nlp).transformer
    ranks = even(transformer)
    heads, neurons = choose_heads(ranks.heads[[0, 2]], 0.4), choose_neurons(ranks.neurons[[0, 2]], 0.5)
    assert [len(one) for one in heads] != [4, 4] and neurons.shape == (2, 24)
    layers = find_layers(transformer)
    with torch.no_grad():
        for i, layer in enumerate((layers[0], layers[2])):
            gone = sorted({*range(4)}.difference(heads[i].tolist()))
            layer.heads.weight.view(32, 4, 8)[:, gone] = 0
            layer.neurons_out.weight[:, sorted({*range(48)}.difference(neurons[i].tolist()))] = 0
    with skipped(layers[1]):
        expected = vectors(nlp)
    assert abs(expected[0] - vectors(nlp)[0]).max() > 0.01
    change = prune(nlp, ranks, heads=0.4, neurons=0.5, layers=[1])
    assert change.before.heads == (4, 4, 4) and sum(change.after.heads) == 5 and change.after.neurons == 24
    assert change.after.parameters == sum(p.numel() for p in transformer.parameters()) < change.before.parameters
    for one, two in zip(vectors(nlp), expected):
        numpy.testing.assert_allclose(one, two, atol=2e-5)
    nlp.to_disk(tmp_path / "nlp")
    loaded = spacy.load(tmp_path / "nlp")
    assert measure(find_transformer(loaded).transformer) == change.after
    for one, two in zip(vectors(loaded), vectors(nlp)):
        numpy.testing.assert_array_equal(one, two)


def test_pruning_twice_counts_heads_as_they_are(tmp_path):
    nlp = make_nlp(make_family(tmp_path / "model", "bert"))
    transformer = find_transformer(nlp).transformer
    layers = find_layers(transformer)
    names = [[layer.module.attention.self.query.weight.view(4, 8, 32)[h].clone() for h in range(4)] for layer in layers]
    first = numpy.array([[0.0, 1, 2, 3], [3, 0, 1, 2], [9, 9, 9, 9]])
    prune(nlp, Importance(first, even(transformer).neurons), heads=2 / 12)
    assert transformer.config.pruned_heads == {0: [0], 1: [1]}
    second = numpy.array([[1.0, 0, 2, numpy.nan], [1, 2, 0, numpy.nan], [9, 9, 9, 9]])
    prune(nlp, Importance(second, even(transformer).neurons), heads=0.2, layers=[2])
    assert transformer.config.pruned_heads == {0: [0, 2], 1: [1]}
    layer = find_layers(transformer)[0].module.attention.self
    assert torch.equal(layer.query.weight.view(2, 8, 32), torch.stack([names[0][1], names[0][3]]))
    third = numpy.array([[1.0, 2, numpy.nan], [2, 3, 4]])
    prune(nlp, Importance(third, even(transformer).neurons), layers=[0])
    assert transformer.config.pruned_heads == {0: [1]} and measure(transformer).heads == (3,)
    expected = vectors(nlp)
    loaded = make_nlp("no-such-model", initialize=False)
    loaded.from_bytes(nlp.to_bytes())
    numpy.testing.assert_array_equal(vectors(loaded)[0], expected[0])


def test_a_fresh_process_says_the_same(nlp, importance, tmp_path):
    prune(nlp, importance, heads=0.3, neurons=0.5, layers=1)
    nlp.to_disk(tmp_path / "nlp")
    code = (
        "import sys, spacy, torch; torch.set_num_threads(1); from tests.compress.helpers import answers;"
        "print(repr(answers(spacy.load(sys.argv[1]))))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "nlp")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = answers(nlp)
    assert done.stdout.strip().splitlines()[-1] == repr(found)
    assert any(row for doc in found for row in doc)


def test_importance_is_the_product_of_value_and_gradient():
    """Equation 2 of Michel et al. (2019), token by token, on a linear map that reads two heads of three numbers."""
    torch.manual_seed(0)
    linear, values = torch.nn.Linear(6, 2), torch.randn(4, 5, 6, requires_grad=True)
    by_head, by_neuron = torch.zeros(2, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
    with hooked(linear, partial(_add_products, by_head, 3)), hooked(linear, partial(_add_products, by_neuron, 1)):
        linear(values).pow(3).sum().backward()
    expected = torch.zeros(2), torch.zeros(6)
    for token in ((values * values.grad).detach().reshape(20, 6)).unbind():
        expected[0].add_(torch.stack([token[:3].sum().abs(), token[3:].sum().abs()]))
        expected[1].add_(token.abs())
    torch.testing.assert_close(by_head.float(), expected[0])
    torch.testing.assert_close(by_neuron.float(), expected[1])


def test_a_part_that_answers_nothing_has_no_importance(nlp):
    layer = find_layers(find_transformer(nlp).transformer)[1]
    with torch.no_grad():
        layer.heads.weight.view(32, 4, 8)[:, 2] = 0
        layer.neurons_out.weight[:, 5] = 0
    found = measure_importance(nlp, make_examples(nlp), rank_layers=False)
    assert found.heads[1].argmin() == 2 and found.heads[1, 2] == 0 and (numpy.delete(found.heads[1], 2) > 0).all()
    assert found.neurons[1, 5] == 0 and (found.neurons[1] > 0).sum() > 40
    numpy.testing.assert_allclose((found.heads**2).sum(axis=1), 1)
    assert found.layers == ()


def test_measuring_changes_nothing_and_is_repeatable(nlp, importance):
    before, weights = answers(nlp), find_transformer(nlp).transformer.state_dict()
    weights = {name: value.clone() for name, value in weights.items()}
    again = measure_importance(nlp, make_examples(nlp))
    numpy.testing.assert_array_equal(again.heads, importance.heads)
    numpy.testing.assert_array_equal(again.neurons, importance.neurons)
    assert again.layers == importance.layers and len(again.layers) == 2
    transformer = find_transformer(nlp).transformer
    assert all(torch.equal(value, weights[name]) for name, value in transformer.state_dict().items())
    assert all(parameter.grad is None for parameter in transformer.parameters())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in transformer.modules())
    for _, pipe in nlp.pipeline:
        assert not any(node.get_grad(name).any() for node in pipe.model.walk() for name in node.grad_names)
    assert answers(nlp) == before


def test_layers_are_ranked_by_the_loss_without_them(nlp, importance):
    examples = make_examples(nlp)
    losses = []
    for layer in find_layers(find_transformer(nlp).transformer):
        with skipped(layer):
            losses.append(measure_loss(nlp, examples))
    assert importance.layers[0] == losses.index(min(losses))
    assert measure_loss(nlp, examples) < min(losses)


def test_refit_is_the_best_linear_map_from_what_stays():
    torch.manual_seed(0)
    inputs = torch.randn(500, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64) + 2
    linear = torch.nn.Linear(6, 3).double()
    target = linear(inputs).detach()
    stay = numpy.array([0, 2, 3, 5])
    refit(linear, stay, Moments(500.0, inputs.sum(dim=0), inputs.T @ inputs), ridge=0.0)
    design = torch.cat([inputs[:, stay], torch.ones(500, 1, dtype=torch.float64)], dim=1)
    best = torch.linalg.lstsq(design, target).solution
    torch.testing.assert_close(linear.weight[:, stay], best[:-1].T, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(linear.bias, best[-1], atol=1e-6, rtol=1e-5)


def test_refit_brings_the_vectors_nearer(nlp, trained, importance):
    docs = [nlp.make_doc(text) for text in SENTENCES]
    wide = {"heads": 0.25, "neurons": 0.25}
    expected = vectors(spacy.load(trained))
    away = {}
    for given in (None, docs):
        smaller = spacy.load(trained)
        prune(smaller, importance, **wide, docs=given)
        away[given is None] = sum(float(((a - b) ** 2).sum()) for a, b in zip(vectors(smaller), expected))
    assert away[False] < 0.5 * away[True]


def test_recovery_learns_again_what_pruning_lost(nlp, importance):
    examples = make_examples(nlp)
    config = {"@optimizers": "Adam.v1", "learn_rate": {"@schedules": "warmup_linear.v1"}}
    config["learn_rate"].update(warmup_steps=5000, total_steps=90000, initial_rate=0.002)
    nlp.config["training"]["optimizer"] = config
    prune(nlp, importance, heads=0.5, neurons=0.75, layers=1)
    checkpoints = recover(nlp, examples, examples, 60, eval_every=20)
    assert [one.step for one in checkpoints] == [0, 20, 40, 60]
    best = max(checkpoints, key=lambda one: one.score)
    assert best.score > checkpoints[0].score + 0.1 and best.score > 0.9
    found = nlp.evaluate(examples)
    assert {key: found[key] for key in ("ents_f", "args_f")} == {key: best.scores[key] for key in ("ents_f", "args_f")}
    assert found["rels_micro_f"] == best.scores["rels_micro_f"]


def test_recovery_keeps_the_weights_it_began_with_if_they_are_best(nlp):
    before, examples = answers(nlp), make_examples(nlp)
    nlp.config["training"]["optimizer"] = {"@optimizers": "Adam.v1", "learn_rate": 1.0}
    checkpoints = recover(nlp, examples, examples, 2, learn_rate=10.0)
    assert checkpoints[0].score > checkpoints[-1].score
    assert answers(nlp) == before


def test_recovery_can_learn_from_something_else(nlp):
    examples, seen = make_examples(nlp), []

    def update(pipeline, batch):
        seen.append(len(batch))
        return pipeline.update(batch, sgd=False)

    recover(nlp, examples, examples, 3, update=update)
    assert len(seen) == 3 and set(seen) == {4}


def test_each_step_learns_from_a_batch_of_both_kinds(nlp, trained):
    """Vectors of words that the training data does not have come back with texts that have them."""
    teacher, gold = spacy.load(trained), make_examples(nlp)
    texts = [Example(nlp.make_doc(text), nlp.make_doc(text)) for text in SENTENCES]
    with torch.no_grad():
        for parameter in find_transformer(nlp).transformer.parameters():
            parameter.mul_(0.9)
    changed, seen, update = nlp.to_bytes(), [], imitate(teacher, gold=False)
    nlp.config["training"]["optimizer"] = {"@optimizers": "Adam.v1", "learn_rate": 0.002}
    away = {}

    def noted(pipeline, batch):
        seen.append(batch)
        return update(pipeline, batch)

    for given in (None, texts):
        nlp.from_bytes(changed)
        recover(nlp, gold, gold, 20, texts=given, update=noted, eval_every=20)
        away[given is None] = sum(float(((a - b) ** 2).sum()) for a, b in zip(vectors(nlp), vectors(teacher)))
    assert away[False] < 0.7 * away[True]
    assert [batch[0].reference.has_annotation("ENT_IOB") for batch in seen] == [True] * 20 + [True, False] * 20
    with pytest.raises(ValueError, match="IE-E728.*4 training example.*0 text"):
        recover(nlp, gold, gold, 1, texts=[])


def test_imitation_brings_the_vectors_back(nlp, trained, importance):
    teacher = spacy.load(trained)
    expected, before = vectors(teacher), answers(teacher)
    examples = [Example(nlp.make_doc(text), nlp.make_doc(text)) for text in SENTENCES]  # without annotation
    trim_vocabulary(nlp, SENTENCES)
    prune(nlp, importance, heads=0.25, neurons=0.25)
    nlp.config["training"]["optimizer"] = {"@optimizers": "Adam.v1", "learn_rate": 0.002}
    update, losses = imitate(teacher, gold=False), []
    away = sum(float(((a - b) ** 2).sum()) for a, b in zip(vectors(nlp), expected))

    def noted(pipeline, batch):
        losses.append(update(pipeline, batch))
        return losses[-1]

    gold = make_examples(nlp)
    heads = nlp.get_pipe("ie_ner").model.get_ref("output_layer").get_param("W").copy()
    recover(nlp, examples, gold, 30, update=noted, eval_every=30)
    assert losses[0].keys() == {"vectors"} and losses[-1]["vectors"] < 0.3 * losses[0]["vectors"]
    assert losses[0]["vectors"] == pytest.approx(away / sum(float((one**2).sum()) for one in expected), rel=0.5)
    numpy.testing.assert_array_equal(nlp.get_pipe("ie_ner").model.get_ref("output_layer").get_param("W"), heads)
    assert answers(teacher) == before
    both = imitate(teacher)(nlp, gold)
    assert {"vectors", "ie_ner", "ie_arguments"} < both.keys()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"heads": 1.0}, "heads is 1.0"),
        ({"neurons": -0.1}, "neurons is -0.1"),
        ({"layers": 3}, "layers is 3"),
        ({"layers": [0, 1, 2]}, "not all"),
        ({"layers": [0, 0]}, "each once"),
        ({"layers": [5]}, "layers is"),
        ({"layers": 1, "docs": []}, "documents with text"),
    ],
)
def test_bad_settings_change_nothing(nlp, importance, settings, message):
    before = measure(find_transformer(nlp).transformer)
    with pytest.raises(ValueError, match="IE-E722") as error:
        prune(nlp, importance, **settings)
    assert message in str(error.value)
    assert measure(find_transformer(nlp).transformer) == before


def test_importance_of_another_transformer_is_refused(nlp, importance):
    prune(nlp, importance, neurons=0.5)
    with pytest.raises(ValueError, match="IE-E723"):
        prune(nlp, importance, neurons=0.5)


def test_pipelines_that_cannot_be_pruned(tmp_path, nlp, importance):
    with pytest.raises(ValueError, match="IE-E720"):
        prune(spacy.blank("en"), importance)
    with pytest.raises(ValueError, match="IE-E509"):
        prune(make_nlp(make_family(tmp_path / "bert", "bert"), initialize=False), importance)
    other = make_nlp(make_family(tmp_path / "mpnet", "mpnet"))
    with pytest.raises(ValueError, match="IE-E721.*mpnet.*distilbert"):
        measure_importance(other, [])
    with pytest.raises(ValueError, match="IE-E724"):
        measure_importance(nlp, [])
    with pytest.raises(ValueError, match="IE-E728"):
        recover(nlp, [], [], 1)
    with pytest.raises(ValueError, match="IE-E722"):
        recover(nlp, make_examples(nlp), make_examples(nlp), 0)
