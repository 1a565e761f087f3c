"""Speed and remaining time, by a clock that the test moves."""

import pytest

from dreamer_leq.training import progress
from dreamer_leq.training.progress import Progress, scoring_lines


class Clock:
    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def shown(clock, steps, seconds, total=100, done=0, figures=None, name="leq"):
    """Lines and rate after updates that reach `steps`, `seconds` one after another."""
    lines = []
    bar = Progress(lines.append)
    bar.start(name, total, done)
    for step, duration in zip(steps, seconds, strict=True):
        clock.now += duration
        bar.update(step, figures)
    bar.finish()
    return lines, bar.rate


def test_the_rate_leaves_the_first_dispatch_out(clock):
    _, rate = shown(clock, [1, 11, 21, 31], [60, 2, 2, 1])
    assert rate == pytest.approx(30 / 5)


def test_a_resumed_phase_counts_from_where_it_was(clock):
    _, rate = shown(clock, [51, 61, 71], [60, 5, 5], done=50)
    assert rate == pytest.approx(20 / 10)


def test_there_is_no_rate_after_one_dispatch(clock):
    assert shown(clock, [100], [60])[1] == 0


def test_a_line_now_and_then_and_at_the_end(clock):
    steps = range(10, 101, 10)
    lines, _ = shown(clock, steps, [5.0] * 10)
    ticks = [line.split()[1] for line in lines]
    assert ticks == ["30/100", "60/100", "90/100", "100/100"]
    assert lines[1].endswith("0:00:20 left")  # 40 updates at 2 a second
    assert lines[-1].endswith("0:00:00 left") and "2 updates/s" in lines[-1]


def test_hours_are_shown_as_such(clock):
    lines, _ = shown(clock, [1, 2], [1, 20], total=1001, name="world_model")
    assert lines[-1].startswith("world_model 2/1,001")
    assert lines[-1].endswith("5:33:00 left")  # 999 updates of 20 s


def test_the_figures_that_matter_to_a_phase(clock):
    figures = {"lambda_return": 1.23456, "q": 2.0, "grad_norm": 9.0}
    lines, _ = shown(clock, [100], [1], figures=figures)
    assert "lambda_return 1.235" in lines[0] and "q 2" in lines[0]
    assert "grad_norm" not in lines[0]


@pytest.mark.parametrize(("waited", "said"), [(3.0, True), (0.2, False)])
def test_waiting_for_data_is_said_where_it_takes_long(clock, waited, said):
    """Of 10 seconds after the first dispatch, whose waiting doesn't count."""
    lines = []
    bar = Progress(lines.append)
    bar.start("world_model", 100, 0)
    for step, seconds, sofar in ((10, 60, 50.0), (100, 10, 50.0 + waited)):
        clock.now += seconds
        bar.update(step, {}, "the disk", sofar)
    assert ("waits for the disk 30% of the time" in lines[-1]) is said
    assert "waits" not in lines[0]


def test_an_evaluation_says_how_far_it_is(clock):
    lines = []
    after_step = scoring_lines(lines.append, episodes=100)
    for step in range(40):
        clock.now += 1.0
        after_step(100 - step)
    after_step(0)
    assert lines == [
        "scoring: step 15, 86 of 100 episodes go on  1 steps/s",
        "scoring: step 30, 71 of 100 episodes go on  1 steps/s",
    ]
