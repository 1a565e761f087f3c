"""The report: what it says, what it leaves out, and that no file can break it."""

import base64
import html
import os
import re

import pytest
import report_files as files
from plotly.offline import get_plotlyjs

from dreamer_leq import UserError
from dreamer_leq import config as configs
from dreamer_leq.commands.report import write_report
from dreamer_leq.pages.report import videos
from dreamer_leq.pages.report.model import model_section
from dreamer_leq.pages.report.page import page, write_pages
from dreamer_leq.pages.run_files import RunFiles
from dreamer_leq.run.folder import RunFolder

HOSTILE = '<script>hacked = 1</script><a href="http://example.com">x</a>'


@pytest.fixture
def folder(tmp_path):
    return files.write_run(tmp_path / "run")


def read(folder):
    """The page without Plotly's own code."""
    return page(RunFiles(folder)).replace(get_plotlyjs(), "")


def text(folder):
    return words_of(read(folder))


def words_of(page):
    """What one reads on it."""
    words = re.sub(r"<(script|style).*?</\1>", " ", page, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", words)).split())


def cells(found):
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in found.split("<tr>")]


# --- one run


def test_the_header_has_the_score_and_what_to_hold_it_against(folder):
    found = read(folder)
    rows = {row[0]: row[1:] for row in cells(found) if row}
    assert rows["policy, scored by eval.py"] == ["634", "626 … 643", "63.4", "10"]
    assert rows["policy before LEQ"][0] == "100"
    assert rows["random actions"][:2] == ["41.0", "33.0 … 50.0"]
    assert rows["dataset, mean episode"][0] == "321"
    assert rows["dataset, best episode"][0] == "765"
    assert '<p class="big">634</p>' in found


def test_a_return_without_a_reference_is_shown_once(tmp_path):
    keys = {"task": "my_arm", "eval.episodes": 0}
    config = configs.from_presets("hopper", "debug", **keys)
    found = read(files.write_run(tmp_path / "run", config))
    rows = {row[0]: row[1:] for row in cells(found) if row}
    assert rows["policy, scored by eval.py"] == ["634", "626 … 643", "10"]
    assert '">score</th>' not in found
    (tmp_path / "run/eval.json").unlink()
    assert "/run --env MODULE:FUNCTION --report does it" in text(tmp_path / "run")


def test_it_says_how_to_repeat_the_run_and_what_it_took(folder):
    found = text(folder)
    assert "python train_offline.py --configs debug --seed 3" in found
    assert "2e76cb156615d40268be29b791b661edc4352fdb, with changes" in found
    assert "jax 0.10.1" in found and "flax" not in found
    assert "walker_walk; each action for 2 control steps, 1,000 an episode; " in found
    assert "pictures of style fast by camera 0" in found
    # 12 records 30 s apart, then LEQ until 520 s
    assert "8.7 min: world model 6.0 min, LEQ 2.7 min" in found
    assert "2.1 GB" in found


def test_a_score_of_before_further_training_is_not_shown(folder):
    scores = folder / "scores.json"
    later = (folder / "eval.json").stat().st_mtime + 10
    os.utime(scores, (later, later))
    assert '<p class="big">612</p>' in read(folder)


def test_sentences_are_there_word_for_word(folder):
    found = text(folder)
    for sentence in (
        files.MODEL_SENTENCE,
        files.VALUE_SENTENCE,
        files.OFFLINE_SENTENCE,
    ):
        assert sentence in found
    assert "bias 4.00 (2.50 … 6.50)" in found


def test_each_metric_has_a_curve_in_its_group(folder):
    found = text(folder)
    order = [
        *("World model", "loss · world model", "image loss · world model"),
        *("Values", "q · LEQ", "lambda return · LEQ", "Policy", "actor loss · LEQ"),
        *(
            "Evaluation",
            "return in the environment · LEQ",
            "Time and memory",
            "peak memory · LEQ",
        ),
    ]
    found = found[found.index("Curves Over") :]
    places = [found.index(words) for words in order]
    assert places == sorted(places)


def test_what_is_not_there_is_said_in_a_line(folder):
    for name in ("model", "value", "offline"):
        (folder / f"analysis/{name}.json").unlink()
    (folder / "eval.json").unlink()
    data = files.info()
    data["dataset"]["return_histogram"] = {}
    files.write_json(folder / "info.json", data)
    found = text(folder)
    assert found.count(f"python eval.py --logdir {folder} --report") == 4
    assert "Random actions are not scored" in found
    assert "returns of the dataset's episodes are not in info.json" in found


def test_a_run_that_has_only_begun_has_a_page(folder):
    for name in ("metrics.jsonl", "scores.json", "eval.json"):
        (folder / name).unlink()
    assert "The policy is not scored yet." in text(folder)


# --- what files can do


@pytest.mark.parametrize("damage", ["{", "[]", '{"a": 1}', "null", "[" * 100_000])
def test_a_damaged_file_is_a_line(folder, damage):
    names = ("info", "scores", "eval", *(f"analysis/{n}" for n in ("model", "value")))
    for name in names:
        (folder / f"{name}.json").write_text(damage)
    (folder / "metrics.jsonl").write_text(damage + "\n")
    found = text(folder)
    for name in names:
        assert f"{name}.json: damaged (" in found
    assert "metrics.jsonl: 1 lines are no records" in found
    assert files.OFFLINE_SENTENCE in found


@pytest.mark.parametrize(
    ("key", "value"),
    [("horizon", [1, 2]), ("episodes", "many"), ("error", []), ("sentence", None)],
)
def test_analyses_of_another_form_are_left_out(folder, key, value):
    analysis = files.model_analysis() | {key: value}
    if key == "sentence":
        del analysis[key]
    files.write_json(folder / "analysis/model.json", analysis)
    assert "model.json: damaged" in text(folder)


def test_numbers_that_are_none_leave_their_place_empty(folder):
    records = files.leq_records()
    records[3]["q"], records[4]["q"], records[5]["time"] = float("nan"), "x", None
    files.write_records(folder, records)
    assert "q · LEQ" in text(folder)
    analysis = files.value_analysis()
    analysis["q"]["correlation"] = float("nan")
    files.write_json(folder / "analysis/value.json", analysis)
    assert files.VALUE_SENTENCE in text(folder)


def test_a_damaged_configuration_is_a_line(folder):
    (folder / "config.yaml").write_text("task: 3")
    found = text(folder)
    assert "config.yaml: " in found and files.MODEL_SENTENCE in found


def test_nothing_of_a_file_becomes_html(tmp_path):
    folder = files.write_run(tmp_path / "a<b>&c")
    files.write_json(folder / "info.json", files.info(path=HOSTILE, version=HOSTILE))
    analysis = files.model_analysis() | {"sentence": HOSTILE}
    analysis["error"][HOSTILE] = analysis["error"]["image"]
    analysis["units"] = {HOSTILE: HOSTILE}
    files.write_json(folder / "analysis/model.json", analysis)
    files.write_records(folder, [files.record(HOSTILE, 1, 1.0, **{HOSTILE: 2.0})])
    files.write_film(folder / "videos" / "<b>.mp4")
    found = read(folder)
    assert "<script>hacked" not in found and '<a href="http' not in found
    assert "a<b>" not in found and "<b><b>" not in found
    assert html.escape(HOSTILE).replace("&quot;", "&#34;") in found


def test_nothing_is_fetched(folder):
    found = read(folder)
    links = re.findall(r"""(?:src|href)=["']([^"']*)""", found)
    assert links and not [link for link in links if "//" in link]
    assert "@import" not in found and "url(" not in found
    assert "default-src 'none'" in found


# --- bounds


def test_a_film_is_in_the_page(folder):
    files.write_film(folder / "videos/policy.mp4")
    data = base64.b64encode((folder / "videos/policy.mp4").read_bytes()).decode()
    assert f'src="data:video/mp4;base64,{data}"' in read(folder)


def test_a_film_that_is_too_large_is_named_instead(folder, monkeypatch):
    monkeypatch.setattr(videos, "LARGEST", 100)
    files.write_film(folder / "videos/policy.mp4")
    found = read(folder)
    assert "<video" not in found
    assert "policy.mp4 has" in found and "open the file itself" in found


# --- a grid


def test_a_grid_has_its_members_side_by_side(tmp_path):
    folder = files.write_grid(tmp_path / "grid")
    pages = write_pages(folder)
    assert len(pages) == 5 and all(file.stat().st_size > 4e6 for file in pages)
    found = pages[0].read_text().replace(get_plotlyjs(), "")
    for i, member in enumerate(file.parent.name for file in pages[1:]):
        assert f'<a href="{member}/report.html">{member}</a>' in found
        assert f">{500 + 10 * i}</td>" in found
        # histogram, disagreement, dots, FQE, and curves
        assert found.count(f'"name":"{member}') >= 1 + 1 + 3 + 1 + 3
    assert "Bias: Q" in found
    # held-out values 50 … 53 order the scores 500 … 530 as they are
    ranks = "FQE against the online score, 4 runs: rank correlation +1.00"
    assert ranks in words_of(found)


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (
            "Off by 2; they agree.",
            {"": "Off by 2.", "a": "They differ.", "b": "They agree."},
        ),
        (
            "Off by 3; they agree.",
            {"a": "Off by 2; they differ.", "b": "Off by 3; they agree."},
        ),
        ("Off by 2.", {"a": "Off by 2; they differ.", "b": "Off by 2."}),
    ],
)
def test_what_members_share_is_said_once(tmp_path, second, expected):
    grid = files.write_grid(tmp_path / "grid")
    members = RunFiles(grid).members
    for one in members[2:]:
        (one.path / "analysis" / "model.json").unlink()
    names = dict(zip("ab", (one.name for one in members), strict=False))
    for one, sentence in zip(members, ("Off by 2; they differ.", second), strict=False):
        said = files.model_analysis() | {"sentence": sentence}
        files.write_json(one.path / "analysis" / "model.json", said)
    found = model_section(RunFiles(grid)).sentences
    assert found == [(names.get(who, ""), text) for who, text in expected.items()]


def test_a_member_alone_knows_the_grids_scores(tmp_path):
    grid = RunFiles(files.write_grid(tmp_path / "grid"))
    found = page(grid.members[3])
    assert '<p class="big">530</p>' in found and "random actions" in found


# --- writing


def test_what_the_disk_refuses_is_one_line(folder):
    (folder / "report.html").mkdir()
    with pytest.raises(UserError, match="the report can't be written") as raised:
        write_report(RunFolder(folder), print, lambda: None)
    assert "\n" not in str(raised.value)
    assert not [file for file in folder.iterdir() if ".tmp" in file.name]


def test_the_page_replaces_the_one_before(folder):
    said = []
    for _ in range(2):
        write_report(RunFolder(folder), said.append, lambda: None)
    assert said == [f"wrote {folder / 'report.html'}"] * 2
