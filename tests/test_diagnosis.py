"""What a diagnosis returns, shows and logs."""

import csv
import json
import math

import keras
import numpy as np
import pytest

import keras_hypernet as kh
from keras_hypernet.diagnosis import runs
from keras_hypernet.diagnosis.finding import LEVELS
from tests import diagnosis_cases as cases

LOGS = {
    f"diagnosis_{name}"
    for name in (
        *("bad", "look", "spread", "signals", "sensitivity", "response", "directions", "slope"),
        *("condition_size", "dead_units", "repeated", "step", "plain_step", "gradient_head"),
        *("gradient_head_bias", "gradient_trunk", "gradient_embeddings"),
    )
}


def faulty():
    keras.utils.set_random_seed(1)
    return cases.zeros()


@pytest.fixture(scope="module")
def found():
    return kh.diagnose(faulty(), *cases.problem())


def test_findings_come_worst_first_with_a_reason_and_a_remedy(found):
    levels = [LEVELS.index(finding.level) for finding in found.findings]
    assert levels == sorted(levels)
    assert found.level == "bad"
    assert found.at("bad") == [f for f in found.findings if f.level == "bad"]
    for finding in found.findings:
        assert finding.where
        assert finding.measured
        assert finding.why.endswith(".")
        assert finding.remedy or finding.level == "good"
    with pytest.raises(ValueError, match="`level`"):
        found.at("worst")


def test_it_is_a_table_as_text_as_html_and_json(found):
    text, html = str(found), found._repr_html_()
    assert text.splitlines()[0].startswith("Diagnosis of ")
    assert max(map(len, text.splitlines())) <= 110
    for finding in found.at("bad"):
        assert f"> {finding.remedy}"[:40] in text
        assert finding.check in html
    assert html.count("<tr>") == 1 + len(found.findings)
    assert "&gt;" in html  # what it quotes is no markup
    data = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert [f["check"] for f in data["findings"]] == [f.check for f in found.findings]
    assert data["figures"]["tensors"][0]["name"] == "layer_0/kernel"


def test_figures_are_those_of_numpy():
    keras.utils.set_random_seed(2)
    model = cases.built(initialization="hyper_fan_in")
    c, x, y = cases.problem()
    found = kh.diagnose(model, c[:6], x[:6], y[:6]).figures
    weights = kh.target_weights(kept_scale(model, c[:6]), c[:6])
    for row in found["tensors"]:
        rows = weights[row["name"]].reshape(6, -1)
        assert row["size"] == pytest.approx(np.sqrt(np.mean(rows**2)), rel=1e-3)
        expected = rows.var(axis=0).mean() / np.mean(rows**2)
        assert row["sensitivity"] == pytest.approx(expected, rel=1e-3)
    loss = model.evaluate([c[:6], x[:6]], y[:6], verbose=0)
    assert found["all"]["loss"] == pytest.approx(loss, rel=1e-3)


def kept_scale(model, c):
    """The model with the scale of conditions that its first step would set."""
    (scale,) = [layer for layer in model.layers if isinstance(layer, kh.RunningScale)]
    scale(c, training=True)
    return model


def test_a_step_is_the_one_that_fit_makes():
    keras.utils.set_random_seed(3)
    model = cases.built(rate=0.01, running_scale=False)
    c, x, y = (array[:16] for array in cases.problem())
    change = kh.diagnose(model, c, x, y).figures["change"]["ratio"]
    chosen = c[np.linspace(0, 15, 8).round().astype(int)]
    before = kh.target_weights(model, chosen)
    model.fit([c, x], y, batch_size=16, verbose=0)
    after = kh.target_weights(model, chosen)
    flat = [np.concatenate([w.reshape(8, -1) for w in ws.values()], 1) for ws in (before, after)]
    expected = np.sqrt(np.mean((flat[1] - flat[0]) ** 2) / np.mean(flat[0] ** 2))
    assert change == pytest.approx(expected, rel=1e-2)


def test_without_data_it_looks_at_weights_alone():
    keras.utils.set_random_seed(4)
    found = kh.diagnose(cases.head(cases.SMALL), cases.problem()[0])
    assert {f.check for f in found.at("bad")} == {"spread"}
    assert found.figures["change"] is None
    assert found.figures["signals"] == []
    assert math.isnan(found.logs()["diagnosis_step"])
    assert not math.isnan(found.logs()["diagnosis_spread"])


def test_conditions_and_data_come_as_lists_and_dicts():
    keras.utils.set_random_seed(5)
    model = cases.noisy()
    (c, noise), x, y = cases.noisy_problem()
    lists = kh.diagnose(model, [c, noise], [x], y)
    dicts = kh.diagnose(model, {"noise": noise, "condition": c}, {"x": x}, y)
    assert lists.as_dict() == dicts.as_dict()


def found_in(model, *data):
    """`{check: (level, where)}` of what is not good."""
    findings = kh.diagnose(model, *data).findings
    return {f.check: (f.level, f.where) for f in findings if f.level != "good"}


def two_heads(stopped=False):
    """Dense layers of one's own that make weights, the first perhaps without a gradient."""
    z, x = keras.Input((2,), name="z"), keras.Input((1,), name="x")
    trunk = keras.layers.Dense(64, "relu", name="trunk")(z)
    first = keras.layers.Dense(32, name="first")(trunk)
    second = keras.layers.Dense(17, name="second")(trunk)
    first = keras.ops.stop_gradient(first) if stopped else first
    y = kh.Hyper(keras.layers.Dense(16, "relu"))(x, first)
    return cases.compiled(keras.Model([z, x], kh.Hyper(keras.layers.Dense(1))(y, second)))


class TestLayersOfOnesOwn:
    def test_each_is_named(self):
        assert found_in(two_heads(stopped=True), *cases.problem())["gradients"] == ("bad", "first")
        rows = kh.diagnose(two_heads(), *cases.problem()).figures["generators"]
        assert [row["name"] for row in rows] == ["trunk", "first", "second"]

    def test_their_kernels_are_not_the_targets(self):
        assert kh.describe(two_heads()).kernels == (2, 2)

    def test_the_size_of_conditions_is_that_in_front_of_the_first(self):
        found = found_in(two_heads(), *cases.scaled(1e-3))
        assert found == {"condition_size": ("bad", "trunk")}


class TestWhatIsGiven:
    @pytest.mark.parametrize(("place", "name"), [*enumerate(("conditioning", "inputs", "y"))])
    def test_a_number_that_is_not_finite_is_named_wherever_it_is(self, place, name):
        data = [array.copy() for array in cases.problem()]
        data[place][5] = np.nan  # a row that is not looked at
        (finding,) = kh.diagnose(cases.built(), *data).at("bad")
        assert (finding.check, finding.where) == ("finite", f"`{name}`")
        assert "row 5" in finding.measured

    def test_targets_that_the_loss_does_not_take(self):
        model = kh.build(2, 1, [(1, 4), (4, 2)], [8])
        model.compile("adam", "mse")
        c, x, _ = cases.problem()
        with pytest.raises(ValueError, match="`y` must be what the compiled loss takes"):
            kh.diagnose(model, c, x, np.ones((cases.ROWS, 3)))

    def test_conditions_in_a_vector(self):
        c, x, y = cases.problem(1)
        vectors = kh.diagnose(cases.built(size=1), c[:, 0], x[:, 0], y)
        assert vectors.level != "bad"

    def test_several_conditions_of_shared_weights(self):
        model = kh.hypernetize(cases.perceptron(), conditioning_size=2, shared=True)
        c, x, y = cases.problem()
        assert found_in(cases.compiled(model), c[:8], x[:8], y[:8]) == {}


class TestCauses:
    def test_what_follows_from_a_cause_is_left_out(self):
        model = cases.built(running_scale=False)
        assert set(found_in(model, *cases.scaled(100.0))) == {"condition_size"}

    def test_nothing_is_trained(self):
        model = cases.built()
        model.trainable = False
        model.compile("adam", "mse")
        (finding,) = kh.diagnose(model, *cases.problem()).at("bad")
        assert finding.check == "frozen"
        assert finding.remedy.startswith("model.trainable = True")

    def test_a_schedule_may_begin_at_zero(self):
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0, 100, warmup_target=1e-3, warmup_steps=50
        )
        model = cases.built()
        model.compile(keras.optimizers.Adam(schedule), "mse")
        assert found_in(model, *cases.problem()) == {}

    def test_equal_layers_of_the_plain_target_are_drawn_apart(self):
        keras.utils.set_random_seed(8)
        found = kh.diagnose(cases.built(20), *cases.problem()).figures["signals"]
        sizes = [row["plain"] for row in found]
        assert max(sizes) < 10 * min(sizes)


class TestCallback:
    def fit(self, watch, model=None, epochs=3, callbacks=()):
        c, x, y = cases.problem()
        model = faulty() if model is None else model
        return model.fit(
            [c, x], y, epochs=epochs, batch_size=64, verbose=0, callbacks=[watch, *callbacks]
        )

    def test_prints_what_is_bad_once(self, capsys):
        self.fit(kh.DiagnosisCallback(*cases.problem()))
        printed = capsys.readouterr().out.splitlines()
        lines = [line for line in printed if ": gradients of " in line]
        assert len(lines) == 1
        assert lines[0].startswith("before training: ")
        assert " > " in lines[0]

    def test_prints_nothing_where_nothing_is_bad(self, capsys):
        keras.utils.set_random_seed(6)
        self.fit(kh.DiagnosisCallback(*cases.problem()), cases.built())
        assert capsys.readouterr().out == ""

    def test_logs_numbers_under_stable_names(self, tmp_path):
        watch = kh.DiagnosisCallback(*cases.problem(), every=2, verbose=0)
        logger = keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))
        history = self.fit(watch, callbacks=[logger]).history
        assert {name for name in history if name.startswith("diagnosis_")} == LOGS
        assert [math.isnan(x) for x in history["diagnosis_bad"]] == [False, True, False]
        with open(tmp_path / "log.csv") as file:
            rows = list(csv.DictReader(file))
        assert set(rows[0]) >= LOGS
        assert float(rows[0]["diagnosis_bad"]) == history["diagnosis_bad"][0] > 0

    @pytest.mark.parametrize(("stop_on", "epochs"), [("bad", 1), (None, 3)])
    def test_stops(self, stop_on, epochs):
        watch = kh.DiagnosisCallback(*cases.problem(), stop_on=stop_on, verbose=0)
        assert len(self.fit(watch).epoch) == epochs
        assert watch.diagnosis.level == "bad"

    def test_a_fit_with_it_is_a_fit_without_it(self):
        losses = []
        for callbacks in ([], [kh.DiagnosisCallback(*cases.problem(), verbose=0)]):
            keras.utils.set_random_seed(7)
            model = cases.built(dropout=0.2, batch_normalization=True)
            c, x, y = cases.problem()
            history = model.fit([c, x], y, epochs=3, verbose=0, callbacks=callbacks)
            losses.append(history.history["loss"])
        assert losses[0] == losses[1]


# Of large kernels a sample is looked at.


def wide():
    """A low-rank update of a kernel of 300 inputs and 400 outputs."""
    target = keras.Sequential([keras.Input((300,)), keras.layers.Dense(400, name="wide")])
    return kh.hypernetize(target, 2, mode="low_rank", rank=2, hidden_sizes=[4], freeze="all")


def test_a_sample_has_the_figures_of_all(rng, monkeypatch):
    model, conditions = wide(), rng.normal(size=(4, 2)).astype("float32")
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    sampled = row_of(kh.diagnose(model, conditions))
    monkeypatch.setattr(runs, "SAMPLE", 10_000)
    whole = row_of(kh.diagnose(model, conditions))
    assert (sampled["entries"], whole["entries"]) == (256 * 256, 300 * 400)
    for name in ("size", "plain", "spread", "sensitivity", "smallest"):
        np.testing.assert_allclose(sampled[name], whole[name], rtol=0.05)
    assert sampled["repeated"] == pytest.approx(whole["repeated"], abs=0.05)


def row_of(diagnosis):
    (row,) = [row for row in diagnosis.figures["tensors"] if row["role"] == "kernel"]
    return row


def test_what_is_not_finite_is_found_wherever_it_is(rng):
    model, conditions = wide(), rng.normal(size=(4, 2)).astype("float32")
    assert not kh.diagnose(model, conditions).at("bad")
    (kernel,) = [v for v in model.non_trainable_variables if tuple(v.shape) == (300, 400)]
    inputs, outputs = (set(range(n)) - set(runs._places(n).tolist()) for n in (300, 400))
    values = keras.ops.convert_to_numpy(kernel).copy()
    values[min(inputs), min(outputs)] = np.nan
    kernel.assign(values)
    assert kh.diagnose(model, conditions).at("bad")[0].check == "finite"


def test_a_large_target_is_run_part_by_part_and_shows_progress(rng, monkeypatch, capsys):
    model, conditions = wide(), rng.normal(size=(4, 2)).astype("float32")
    x = rng.normal(size=(8, 300)).astype("float32")
    expected = kh.diagnose(model, conditions, x)
    assert not capsys.readouterr().out
    monkeypatch.setattr(runs, "AT_ONCE", 300 * 400)
    found = kh.diagnose(model, conditions, x)
    assert "set of weights" in capsys.readouterr().out
    assert [f.check for f in found.findings] == [f.check for f in expected.findings]
    assert row_of(found)["size"] == pytest.approx(row_of(expected)["size"], rel=1e-5)
    assert row_of(found)["plain"] == pytest.approx(row_of(expected)["plain"], rel=1e-5)
    kh.diagnose(model, conditions, verbose=0)
    assert not capsys.readouterr().out
