"""The pages as a browser shows them: drawn, playing, and asking nobody for anything."""

import re

import pytest
import report_files as files

pytest.importorskip("selenium", reason="no selenium: pip install -e '.[test]'")

import browser as browsers
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from dreamer_leq import config as configs
from dreamer_leq.pages.comparison.page import comparison_page
from dreamer_leq.pages.comparison.runs import open_runs
from dreamer_leq.pages.comparison.summary import summarize
from dreamer_leq.pages.report.page import page as html_of
from dreamer_leq.pages.run_files import RunFiles

pytestmark = pytest.mark.skipif(
    not (browsers.CHROMIUM and browsers.DRIVER),
    reason="no Chromium: apt-get install chromium chromium-driver",
)
HOSTILE = '<script>hacked = 1</script><a href="http://example.com">x</a>'
SIZES, THEMES = (browsers.DESKTOP, browsers.PHONE), ("light", "dark")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with browsers.chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def written(folder):
    file = folder / "report.html"
    file.write_text(html_of(RunFiles(folder)))
    return file


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A run's page, in a folder and with words that try to break it."""
    folder = tmp_path_factory.mktemp("runs") / "a <b>run"
    files.write_run(folder, film=True)
    files.write_json(folder / "info.json", files.info(path=HOSTILE))
    analysis = files.model_analysis() | {"units": {"image": HOSTILE}}
    analysis["error"][HOSTILE] = analysis["error"]["image"]
    files.write_json(folder / "analysis/model.json", analysis)
    records = files.world_model_records() + files.leq_records()
    for record in records:
        record[HOSTILE] = 1.0
    files.write_records(folder, records)
    return written(folder)


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    return written(files.write_grid(tmp_path_factory.mktemp("runs") / "grid"))


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """The page of two runs whose method tries to break it."""
    folders = [tmp_path_factory.mktemp("runs") / f"seed{seed}" for seed in (0, 1)]
    for seed, folder in enumerate(folders):
        keys = {"seed": seed, "leq.updates": 120}
        files.write_run(folder, configs.from_presets("debug", **keys))
    runs = open_runs([f"{HOSTILE}={folder}" for folder in folders])
    file = folders[0] / "comparison.html"
    file.write_text(comparison_page(summarize(runs)))
    return file


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """The comparison of eight methods with long names."""
    folder = tmp_path_factory.mktemp("runs")
    file = folder / "comparison.html"
    arguments = files.write_eight_methods(folder)
    file.write_text(comparison_page(summarize(open_runs(arguments))))
    return file


@pytest.fixture(params=["report", "grid", "comparison"])
def page(request):
    return request.getfixturevalue(request.param)


def brightness(colour):
    """0 … 255 of a computed colour such as rgb(1, 2, 3)."""
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3


def test_plots_are_drawn_and_nothing_is_asked_of_the_network(browser, page):
    browser.requests(), browser.complaints()
    browser.open(page)
    plots = browser.script("return document.querySelectorAll('.plot').length")
    drawn = "return document.querySelectorAll('.plot .main-svg .cartesianlayer').length"
    # in sight, and then all as if it was printed
    browser.wait(drawn)
    assert browser.script(drawn) < plots
    browser.script("dispatchEvent(new Event('beforeprint'))")
    assert plots >= 5 and browser.script(drawn) == plots
    empty = """return [...document.querySelectorAll('figure')].filter(
        figure => figure.querySelector('.plot') &&
        !figure.querySelector('.trace path, .points path')).length"""
    assert browser.script(empty) == 0
    assert set(browser.requests()) == {page.as_uri()}
    assert browser.complaints() == []


def test_films_play(browser, report):
    browser.open(report)
    browser.wait("return document.querySelector('video').readyState >= 2")
    browser.script("document.querySelector('video').play()")
    browser.wait("return document.querySelector('video').currentTime > 0")
    shape = (
        "const v = document.querySelector('video'); return [v.duration, v.videoWidth]"
    )
    assert browser.script(shape) == [1.0, 192]
    assert browser.complaints() == []


@pytest.mark.parametrize("size", SIZES)
def test_it_fits_the_screen_in_both_themes(browser, page, size):
    shades = []
    for theme in THEMES:
        browser.open(page, size, theme)
        browser.script("dispatchEvent(new Event('beforeprint'))")
        width = "return [document.documentElement.scrollWidth, innerWidth]"
        assert browser.script(width) == [size[0], size[0]]
        colours = """const of = (element, what) => getComputedStyle(element)[what];
            return [of(document.body, 'backgroundColor'), of(document.body, 'color'),
            of(document.querySelector('.xtick text'), 'fill'),
            of(document.querySelector('.gridlayer path'), 'stroke')]"""
        shades.append([brightness(x) for x in browser.script(colours)])
    light, dark = shades
    # page and grid get darker, text gets lighter
    assert light[0] > 200 > 60 > dark[0] and light[3] > 200 > 100 > dark[3]
    assert light[1] < 60 < 200 < dark[1] and light[2] < 120 < 140 < dark[2]


CUT = """
const box = element => element.getBoundingClientRect();
const wide = element => element.scrollWidth > element.clientWidth + 1;
const out = text => box(text).width && (
    box(text).left < box(text.closest('svg')).left - 1 ||
    box(text).right > box(text.closest('svg')).right + 1);
return [...[...document.querySelectorAll('td, th, .scroll')].filter(wide),
    ...[...document.querySelectorAll('.plot text')].filter(out)].map(e => e.textContent)
"""


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_of_eight_methods_is_cut(browser, eight, width):
    browser.open(eight, (width, 900))
    browser.script("dispatchEvent(new Event('beforeprint'))")
    page = "return [document.documentElement.scrollWidth, innerWidth]"
    assert browser.script(page) == [width, width]
    assert browser.script(CUT) == []
    labels = "return [...document.querySelectorAll('.ytick text')]"
    shown = browser.script(f"{labels}.map(text => text.textContent)")
    assert {"BC", *"ABCDEFGH", "B > A", "H > G"} <= set(shown)


def test_one_sees_values_and_zooms(browser, report):
    browser.open(report)
    # scrolling to a plot draws it
    sight = """document.querySelector('#curves .plot').scrollIntoView(
        {behavior: 'instant', block: 'center'})"""
    browser.script(sight)
    browser.wait("return document.querySelector('#curves .plot .nsewdrag')")
    plot = browser.driver.find_element(By.CSS_SELECTOR, "#curves .plot .nsewdrag")
    mouse = ActionChains(browser.driver)
    mouse.move_to_element(plot).perform()
    hover = "[...document.querySelectorAll('#curves .hoverlayer text')]"
    browser.wait(f"return {hover}.length")
    # the folder's name, and not in bold
    assert "a <b>run : " in browser.script(
        f"return {hover}.map(text => text.textContent).join()"
    )
    axis = "const p = document.querySelector('#curves .js-plotly-plot'); "
    axis += "return p._fullLayout.xaxis.range"
    whole = browser.script(axis)
    mouse.click_and_hold(plot).move_by_offset(60, 0).release().perform()
    changed = axis.replace("return ", "return String(") + ") !== String(arguments[0])"
    browser.wait(changed, whole)
    low, high = browser.script(axis)
    assert whole[0] <= low < high <= whole[1]


def test_words_of_files_stay_words(browser, report):
    browser.open(report)
    assert browser.script("return typeof hacked") == "undefined"
    links = (
        "return [...document.querySelectorAll('a')].map(a => a.getAttribute('href') "
    )
    links += "|| a.getAttributeNS('http://www.w3.org/1999/xlink', 'href'))"
    assert all(link is None or link[0] == "#" for link in browser.script(links))
    shown = browser.script("return document.body.textContent")
    assert HOSTILE in shown and "a <b>run" in shown
