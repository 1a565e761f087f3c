"""The page in a browser without a network: pick, edit, watch, save, drive."""

import re
import threading
from urllib.parse import urlparse

import numpy as np
import pytest
from small_runs import pixel_run

pytest.importorskip("selenium", reason="no selenium: pip install -e '.[test]'")

import browser as browsers
from selenium.webdriver.common.action_chains import ActionChains

import dreamer_leq as dl
from dreamer_leq.explorer import session as sessions
from dreamer_leq.explorer.answers import Answers
from dreamer_leq.explorer.server import Server
from dreamer_leq.explorer.session import DreamSession
from dreamer_leq.explorer.still import still_page
from dreamer_leq.explorer.views import Images
from dreamer_leq.pages.templates import render
from dreamer_leq.run.folder import RunFolder
from vd4rl_loader.simulators import simulate

pytestmark = pytest.mark.skipif(
    not (browsers.CHROMIUM and browsers.DRIVER),
    reason="no Chromium: apt-get install chromium chromium-driver",
)
STEPS = 3
FRAMES = "return [...document.querySelectorAll('#frames [data-row] canvas')]"
FRAMES += ".map(canvas => canvas.toDataURL())"
SIGHT = "arguments[0].scrollIntoView({behavior: 'instant', block: 'center'})"
READY = "return !!(dream && dream.opened)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with browsers.chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    path = pixel_run(tmp_path_factory.mktemp("runs"))
    run = dl.load_run(path)
    session = DreamSession(run, run.open_dataset(log=lambda line: None))
    environment = RunFolder(path).facts.environment
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sessions, "LONGEST_EPISODE", 6)
        patch.setattr("dreamer_leq.explorer.answers.STEPS", STEPS)
        patch.setattr("dreamer_leq.explorer.still.STEPS", STEPS)
        patch.setattr("dreamer_leq.explorer.still.MOMENTS", 2)
        yield Answers(session, Images(), environment)


@pytest.fixture
def url(answers):
    with Server(0) as server:
        server.show(
            render("explorer/page.html", about=answers.about(), still=None), answers
        )

        def serve():
            server.answer_forever()
            answers.session.close()
            simulate._camera.cache_clear()  # of this thread

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.url
        server.stop()
        thread.join()


def choose(browser, name, value, event="change"):
    browser.script(
        "const one = document.getElementById(arguments[0]); one.value = arguments[1];"
        "one.dispatchEvent(new Event(arguments[2]))",
        name,
        value,
        event,
    )


def asked(browser, url, name):
    """How often it was asked since the last call."""
    requests = browser.requests()
    assert all(one.startswith((url, f"blob:{url}")) for one in requests)
    return sum(urlparse(one).path == f"/{name}" for one in requests)


def test_pick_edit_watch_and_save(browser, url, answers, tmp_path):
    browser.requests(), browser.complaints()
    browser.open(url)
    browser.wait(READY)
    choose(browser, "entry", 7, "input")
    browser.wait("return at.entry === 7 && !!moment && !!dream.opened")
    asked(browser, url, "dream")
    browser.script("[...document.querySelectorAll('#kinds button')][3].click()")
    browser.wait("return kind === 'zero' && !dream.actions.flat().some(x => x)")
    # drag the first joint's second step down to its end
    before = browser.script(FRAMES)
    bars = browser.script("return document.querySelector('#joints svg')")
    browser.script(SIGHT, bars)
    mouse = ActionChains(browser.driver)
    mouse.move_to_element(bars).click_and_hold().move_by_offset(0, 40).release()
    mouse.perform()
    browser.wait("return !!dream.changes && dream.actions[1][0] === -1 && step === 1")
    after = browser.script(FRAMES)
    assert len(after) == 2 and all(a != b for a, b in zip(before, after, strict=True))
    changes = np.array(browser.script("return dream.changes"))
    assert ((changes > 0) == [[False, True, True]] * 2).all()
    marked = "return document.querySelectorAll('#frames .changed').length"
    assert browser.script(marked) == 2
    assert browser.script("return document.querySelectorAll('.edited').length") == 1
    # keep it
    browser.save_into(tmp_path)
    for button in browser.script(
        "return [...document.querySelectorAll('[data-save]')]"
    ):
        browser.script("arguments[0].click()", button)
    browser.script("document.getElementById('copy').click()")
    browser.wait("return !document.getElementById('lines').hidden")
    files = {f"dream.{kind}" for kind in ("mp4", "gif", "npz")}

    def saved():
        return {file.name for file in tmp_path.iterdir()}

    browsers.WebDriverWait(None, 60).until(lambda _: saved() == files)
    with np.load(tmp_path / "dream.npz") as kept:
        assert kept["action"][1, 0] == -1 and np.count_nonzero(kept["action"]) == 1
        assert kept["reward"].shape == (2, STEPS) and kept["entry"] == 7
    assert (tmp_path / "dream.mp4").read_bytes()[4:8] == b"ftyp"
    lines = browser.script("return document.getElementById('lines').textContent")
    assert "latents[7]" in lines and "[-1.0, 0.0" in lines
    # and back: to the kind of actions, and to the dice
    undo = "document.getElementById('undo').click()"
    browser.script(undo)
    browser.wait("return kind === 'zero' && !dream.actions.flat().some(x => x)")
    browser.script("go(0)")  # the step that was shown
    assert browser.script(FRAMES) == before
    assert browser.script("return document.getElementById('lines').hidden")
    choose(browser, "seed", 7)
    browser.wait("return dream.version.seed === 7")
    assert browser.script(FRAMES) != before
    browser.script(undo)
    browser.wait("return dream.version.seed === 0 && kind === 'zero'")
    assert browser.script(FRAMES) == before
    # an edit beyond fewer steps is there again with more of them
    browser.script("edit(0, 1, 2)")
    for count in (1, STEPS):
        choose(browser, "steps", count)
        browser.wait(f"return dream.actions.length === {count}")
    assert browser.script("return dream.actions[2][0]") == 1
    choose(browser, "steps", 1000)
    longest = browser.script("return document.getElementById('steps').value")
    assert int(longest) == sessions.LONGEST
    assert asked(browser, url, "dream") >= 3 and browser.complaints() == []


def test_edits_do_not_pile_up(browser, url):
    browser.open(url)
    browser.wait(READY)
    browser.requests()
    browser.script("for (let i = 1; i <= 20; i++) edit(0, i / 20, 0); settle();")
    browser.wait("return dream.actions[0][0] === 1 && !!dream.changes")
    assert asked(browser, url, "dream") == 2  # the first and the last
    # one that comes just when an earlier one is answered keeps those between
    browser.script("""const all = take; take = async (...given) => {
        take = all; await all(...given); edit(2, 1, 2); };
        edit(0, -1, 0); edit(1, -1, 1); settle();""")
    browser.wait("return dream.actions[2][2] === 1")
    earlier = "return [dream.actions[0][0], dream.actions[1][1]]"
    assert browser.script(earlier) == [-1, -1]


def test_play_drive_and_watch_both_part(browser, url):
    browser.open(url)
    browser.wait(READY)
    choose(browser, "source", "played")
    browser.script("document.getElementById('play-episode').click()")
    browser.wait("return at.source === 'played' && !!simulated && !!simulated.opened")
    names = "return [...document.querySelectorAll('#frames figcaption')]"
    names = browser.script(f"{names}.map(caption => caption.textContent)")
    assert len(names) == 4 and names[1].startswith("simulator, same actions")
    browser.script("document.getElementById('drive').click()")
    key = "dispatchEvent(new KeyboardEvent(arguments[0], {key: 'q'}));"
    browser.script(key, "keydown")
    held = "return [...document.querySelectorAll('#handles input')].map(x => +x.value)"
    assert browser.script(held) == [1, 0, 0, 0, 0, 0]
    browser.script(key, "keyup")
    assert browser.script(held) == [0] * 6
    browser.wait("return document.querySelectorAll('#driven canvas').length === 2")
    browser.wait("return /^step ([4-9]|\\d\\d)/.test($('drive-is').textContent)")
    browser.script("document.getElementById('drive').click()")
    assert browser.complaints() == []


def test_trouble_is_told_on_the_page(browser, url):
    browser.open(url)
    browser.wait(READY)
    browser.script("imagine([[2, 0, 0, 0, 0, 0]])")
    trouble = "return $('trouble').hidden ? '' : $('trouble').textContent"
    assert "lies outside of [-1, 1]" in browser.wait(trouble)
    browser.script("imagine('zero')")
    browser.wait("return $('trouble').hidden")
    browser.complaints()


@pytest.mark.parametrize("size", [browsers.DESKTOP, (400, 860)])
def test_it_fits_the_screen_in_both_themes(browser, url, size):
    shades = []
    for theme in ("light", "dark"):
        browser.open(url, size, theme)
        browser.wait(READY)
        width = "return [document.documentElement.scrollWidth, innerWidth]"
        assert browser.script(width) == [size[0], size[0]]
        colour = "return getComputedStyle(document.body).backgroundColor"
        shades.append(sum(map(int, re.findall(r"\d+", browser.script(colour))[:3])))
    assert shades[0] > 600 > 180 > shades[1]


def test_the_page_without_a_server(browser, answers, tmp_path):
    file = tmp_path / "dreams.html"
    file.write_text(still_page(answers, lambda line: None))
    browser.requests(), browser.complaints()
    browser.open(file, (400, 860))
    browser.wait(READY)
    first = browser.script(FRAMES)
    browser.script("go(2)")
    assert all(a != b for a, b in zip(first, browser.script(FRAMES), strict=True))
    chosen = "[...document.querySelectorAll('#kinds button')].find(x => "
    chosen += "x.dataset.kind === 'left knee −')"
    browser.script(f"{chosen}.click()")
    browser.wait("return dream.actions[0][4] === -1")
    browser.script("document.querySelectorAll('.thumb')[1].click()")
    browser.wait("return at === still[1].at && kind === 'left knee −'")
    width = "return [document.documentElement.scrollWidth, innerWidth]"
    assert browser.script(width) == [400, 400]
    assert set(browser.requests()) == {file.as_uri()}
    assert browser.complaints() == []
