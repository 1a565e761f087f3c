"""What a run's analysis says in words."""

from dreamer_leq.commands.analysis import model_sentence, value_sentence
from dreamer_leq.evaluation.calibration import Calibration


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
