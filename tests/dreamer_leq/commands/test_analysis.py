"""What a run's analysis says in numbers and in words."""

import json

import numpy as np
import pytest
from small_runs import maze_run

from dreamer_leq.commands.analysis import analyse, model_sentence, value_sentence
from dreamer_leq.data.opening import open_data
from dreamer_leq.evaluation.calibration import Calibration
from dreamer_leq.run.folder import RunFolder

SIZES = {"analysis.sequences": 4, "analysis.episodes": 2}


def files_of(folder):
    """analysis/model.json and analysis/value.json, in which every number is finite."""

    def refuse(number):
        raise ValueError(number)

    files = (folder / "analysis" / f"{name}.json" for name in ("model", "value"))
    return [json.loads(file.read_text(), parse_constant=refuse) for file in files]


def test_a_run_is_analysed_once(tmp_path):
    run = RunFolder(maze_run(tmp_path, **SIZES))
    dataset, _ = open_data(run.config, lambda line: None)

    def analysed():
        said = []
        analyse(run, dataset, said.append, workers=1)
        return said

    said = analysed()
    model, value = files_of(run.path)
    assert said == [f"model: {model['sentence']}", f"value: {value['sentence']}"]
    assert model["horizon"] == [1, 2, 3, 4] and model["episodes"] == 4
    assert set(model["error"]) == {"state", "reward"}
    for error in model["error"].values():
        assert [len(curve) for curve in error["members"]] == [4, 4]
        assert all(len(error[name]) == 4 for name in ("mixture", "low", "baseline"))
    assert set(model["disagreement"]) == {"data", "policy", "random"}
    assert value["episodes"] == 2 and value["horizon"] == 3
    for name in ("q", "lambda_return", "imagined_return"):
        found = value[name]
        assert len(found["predicted"]) == len(found["real"]) == len(value["episode"])
        error = np.subtract(found["predicted"], found["real"])
        assert len(error) == 20 and found["bias"] == pytest.approx(error.mean())
        assert found["low"] <= found["bias"] <= found["high"]
    assert analysed() == []  # all there
    (run.path / "analysis/model.json").write_text("{")
    assert analysed() == said[:1]
    assert files_of(run.path) == [model, value]  # and the same


def judged(bias, low, high, real=50.0):
    return Calibration([real + bias] * 2, [real] * 2, bias, low, high, None)


def test_a_sentence_says_which_way_the_value_is_wrong():
    fine = judged(0.1, -1.0, 1.0)

    def say(q, careful="", hidden=0.0):
        return value_sentence(q, fine, careful, 5, hidden)

    high, low = say(judged(12, 8, 16)), say(judged(-3, -4, -2))
    assert high.startswith(
        "Q is too high by 12 (95 % 8 … 16), 24 % of the mean return: the policy "
        "believes to be better than it is. "
    )
    assert "too low by 3" in low and "careful" not in low
    assert (
        say(judged(-3, -4, -2), "so it is meant").count("return: so it is meant") == 1
    )
    assert "meant" not in say(judged(3, 2, 4), "so it is meant")
    assert "no interval: its episodes don't differ" in say(judged(3, 3, 3))
    assert "right on the average: bias 1 " in say(judged(1, -1, 3))
    assert "believes" not in say(judged(0.5, 0.4, 0.6))  # a hundredth
    assert "What 5 imagined steps bring is right" in say(fine)
    assert "20 % of the real returns' weight" in say(fine, hidden=0.2)


def test_a_sentence_says_how_far_the_model_sees():
    units = {"state": "standard deviations"}
    errors = {"state": {"mixture": [0.1, 0.4], "baseline": [0.3, 0.8]}}
    dispute = {"data": [0.1, 0.2], "policy": [0.1, 0.5], "random": [0.2, 0.9]}
    text = model_sentence(errors, dispute, units)
    assert text.startswith("2 steps ahead") and "off by 0.4 standard dev" in text
    assert "better than repeating the last state (0.8)" in text
    assert "2.5 times as far apart on the policy's" in text
    errors["state"]["baseline"] = [0.1, 0.2]
    assert "no better than" in model_sentence(errors, {"data": [1]}, units)
