"""The folder of pages in a headless Chromium, opened from disk: what a reader sees and does."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import browser
import pages
import pytest
from browser import Browser

from seekbench.leaderboard import sources
from seekbench.leaderboard.page import boards, write

pytestmark = pytest.mark.skipif(
    bool(browser.LACKING), reason=f"needs {browser.LACKING} (Debian: chromium-driver)"
)

ALL = [
    "index.html", "datasets/odd.html", "datasets/plain.html", "systems/good.html",
    "systems/img-src-x-onerror-window.broken-2.html",
]  # fmt: skip
#: A test asks for what a script draws once it is drawn.
DRAWN = {
    "index.html": "#plot .main-svg",
    **dict.fromkeys(["datasets/odd.html", "datasets/plain.html"], "#hardest tbody tr"),
}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEKBENCH_HOME", str(tmp_path_factory.mktemp("store")))
        results = pages.results(tmp_path_factory.mktemp("results"))
        write.write(folder, boards.of_all_metrics(sources.load([results])), most=6)
    return folder


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def blank(started: Browser) -> Iterator[Browser]:
    """The browser before any page; the console must hold no error at the end."""
    started.width(1400)
    started.media(prefers_color_scheme="light")
    yield started
    assert started.log() == []
    assert started.run("return typeof window.broken") == "undefined"


@pytest.fixture
def at(blank: Browser, page: Path) -> Browser:
    """The browser at the first page."""
    look(blank, page)
    return blank


def look(at: Browser, page: Path, name: str = "index.html", hash: str = "") -> None:
    at.open(page / name, hash)
    at.until("return document.querySelector(arguments[0])", DRAWN.get(name, "main"))


def systems(at: Browser) -> list[str]:
    return at.texts("#table tbody th a")


def heads(at: Browser) -> list[str]:
    found: list[str] = at.run(
        "return [...document.querySelectorAll('#table thead th')].map(h => h.dataset.title)"
    )
    return found


def column(at: Browser, title: str) -> list[str]:
    """What is sorted by, of a column of the board."""
    found: list[str] = at.run(
        "const i = [...document.querySelectorAll('#table thead th')].findIndex(h => h.dataset.title === arguments[0]);"
        "return [...document.querySelectorAll('#table tbody tr')].map(r => r.cells[i].dataset.order)", title,
    )  # fmt: skip
    return found


def wait_sorted(at: Browser, how: str) -> None:
    """DataTables sorts a moment after a click."""
    at.until(
        "return document.querySelector('#status').textContent.includes(arguments[0])", f"sorted by {how}"
    )


@pytest.mark.parametrize("name", ALL)
def test_every_page_opens_and_shows_scripts_as_text(blank: Browser, page: Path, name: str) -> None:
    blank.requests()
    look(blank, page, name)
    loaded = blank.requests()
    assert (page / name).as_uri() in loaded
    assert (page / "assets" / "page.js").as_uri() in loaded
    assert all(u.startswith((page.as_uri(), "data:", "about:")) for u in loaded), loaded
    assert blank.run("return document.querySelectorAll('main img').length") == 0
    if name == ALL[-1]:
        assert pages.SCRIPT in blank.run("return document.querySelector('main').innerText")
        assert blank.texts("h1") == [pages.IMAGE]


def test_sorting_with_the_mouse(at: Browser) -> None:
    assert systems(at)[0] == "good"
    assert at.run("return document.querySelector('#table th[data-title=mean]').ariaSort") == "descending"
    at.click("#table th[data-title='plain'] .dt-column-title")
    wait_sorted(at, "plain, highest first")
    figures = [float(v) for v in column(at, "plain")]
    assert figures == sorted(figures, reverse=True)
    at.click("#table th[data-title='plain'] .dt-column-title")
    wait_sorted(at, "plain, lowest first")
    assert [float(v) for v in column(at, "plain")] == sorted(figures)
    assert at.run("return document.querySelector('#table th[data-title=plain]').ariaSort") == "ascending"


def test_an_order_is_kept_in_the_address(at: Browser, page: Path) -> None:
    at.click("#table th[data-title='plain'] .dt-column-title")
    wait_sorted(at, "plain, highest first")
    hash = at.run("return location.hash")
    assert hash == "#sort=desc%3Aplain"
    look(at, page)
    wait_sorted(at, "mean, highest first")
    look(at, page, hash=hash)
    wait_sorted(at, "plain, highest first")
    at.click("#reset")
    wait_sorted(at, "mean, highest first")
    assert at.run("return location.hash") == ""


def test_what_has_no_figure_is_last_in_both_directions(at: Browser) -> None:
    for end, wanted in (("lowest", ["2.0", "8.0", "20.0", ""]), ("highest", ["20.0", "8.0", "2.0", ""])):
        at.click("#table th[data-title='p95 ms'] .dt-column-title")
        wait_sorted(at, f"p95 ms, {end} first")
        assert column(at, "p95 ms") == wanted


def test_sorting_with_the_keyboard(at: Browser) -> None:
    at.run("document.querySelector('#reset').focus()")
    for _ in range(10):
        at.press("Tab")
        label = at.run("return document.activeElement.ariaLabel")
        if label and label.startswith("system"):
            break
    assert at.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid", "focus shows"
    at.press("Enter")
    wait_sorted(at, "system, A first")
    names = systems(at)
    assert names == sorted(names, key=str.lower)
    assert at.run("return document.querySelector('#table th').ariaSort") == "ascending"


def test_the_first_stop_of_the_keyboard_skips_to_the_content(at: Browser) -> None:
    at.press("Tab")
    assert at.run("return document.activeElement.className") == "skip"
    at.press("Enter")
    assert at.run("return document.activeElement.id") == "main"


def test_filters(at: Browser) -> None:
    at.type("#system", "GOO")
    assert systems(at) == ["good"]
    at.click("#reset")
    at.until("return document.querySelectorAll('#table tbody tr').length === 4")
    at.choose("#family", "bm25")
    assert set(systems(at)) == {"middling", "poor"}
    at.type("#dataset", "pla")
    assert "odd" not in heads(at)
    assert {"plain", "mean", "p95 ms"} <= set(heads(at))
    assert "2 of 4 systems, 1 of 2 columns of datasets" in at.texts("#status")[0]
    assert "means stay over all datasets" in at.texts("#status")[0]
    at.click("#reset")
    at.until("return document.querySelectorAll('#table tbody tr').length === 4")
    at.choose("#language", "en")
    assert "odd" in heads(at)
    assert "plain" not in heads(at)
    assert "language=en" in at.run("return location.hash")


def test_columns_are_chosen(at: Browser) -> None:
    before = heads(at)
    at.click("#chooser summary")
    boxes = at.texts("#chooser label")
    assert boxes == before[1:]
    at.click(f"#chooser label:nth-of-type({boxes.index('Δ middling') + 1}) input")
    assert heads(at) == [h for h in before if h != "Δ middling"]
    assert all(
        at.run(
            "return [...document.querySelectorAll('#table tr')].map(r => r.cells.length === arguments[0])",
            len(before) - 1,
        )
    )  # fmt: skip
    at.click(f"#chooser label:nth-of-type({boxes.index('Δ middling') + 1}) input")
    assert heads(at) == before


def test_metrics_are_switched_and_kept_in_the_address(at: Browser, page: Path) -> None:
    before = column(at, "mean")
    at.choose("#metric", "recall@100")
    at.until("return document.querySelector('#table caption').textContent.includes('recall@100')")
    assert column(at, "mean") != before
    hash = at.run("return location.hash")
    assert hash == "#metric=recall%40100"
    at.until("return document.querySelector('#plot .ytitle').textContent === 'mean recall@100'")
    at.choose("#metric", "ndcg@10")
    at.until("return document.querySelector('#table caption').textContent.includes('ndcg@10')")
    assert column(at, "mean") == before
    look(at, page, hash=hash)
    at.until("return document.querySelector('#table caption').textContent.includes('recall@100')")


def test_heat_and_intervals_are_switched(at: Browser) -> None:
    shown = "return getComputedStyle(document.querySelector('#table td.best')).backgroundColor"
    assert at.run(shown) != "rgba(0, 0, 0, 0)"
    at.click("#heat")
    assert at.run(shown) == "rgba(0, 0, 0, 0)"
    small = "return getComputedStyle(document.querySelector('#table .interval')).display"
    assert at.run(small) == "none"
    at.click("#intervals")
    assert at.run(small) == "block"


def test_the_plot_of_quality_and_cost(at: Browser) -> None:
    labels = "return [...document.querySelectorAll('#plot .textpoint')].map(t => t.textContent)"
    assert set(at.run(labels)) == {"good", "middling", "poor"}
    told = at.texts("#plotted")[0]
    assert "middling, good" in told
    assert "poor" not in told
    assert "1 without a figure or this cost left out" in told
    assert at.run("return document.querySelector('#plot').getAttribute('aria-label')")


def test_two_systems_side_by_side(blank: Browser, page: Path) -> None:
    look(blank, page, "datasets/odd.html", "#first=good&second=poor")
    summary = blank.texts("#summary")[0]
    assert summary.startswith("ndcg@10: good 0.")
    assert "Holm" in summary
    differences = [float(t.replace("−", "-")) for t in blank.texts("#differences td:nth-child(4)")]
    assert differences == sorted(differences, key=abs, reverse=True)
    assert differences
    blank.choose("#order", "where the second is ahead")
    assert all(t.startswith("−") for t in blank.texts("#differences td:nth-child(4)"))
    blank.choose("#order", "where the first is ahead")
    blank.run("document.querySelector('#differences button').focus()")
    blank.press("Enter")
    blank.until("return document.querySelector('.opened:not([hidden]) .found li')")
    assert (
        blank.run("return document.querySelector('#differences button').getAttribute('aria-expanded')")
        == "true"
    )
    assert blank.texts(".opened:not([hidden]) h4") == ["good", "poor"]
    documents = blank.texts(".opened:not([hidden]) .pair .passage")
    assert documents
    assert all(pages.SCRIPT in text and pages.IMAGE in text for text in documents)
    assert "relevant (2)" in blank.texts(".opened:not([hidden]) .badge")
    blank.choose("#second", pages.IMAGE)
    assert pages.IMAGE in blank.texts("#summary")[0]
    blank.choose("#metric", "recall@100")
    blank.until("return document.querySelector('#summary').textContent.startsWith('recall@100')")


def test_a_query_is_found_by_its_text(blank: Browser, page: Path) -> None:
    look(blank, page, "datasets/plain.html", "#first=good&second=poor")
    every = blank.texts("#differences .asked")
    blank.type("#find", every[0])
    assert blank.texts("#differences .asked") == [every[0]]


@pytest.mark.parametrize("name", ALL)
def test_a_phone_scrolls_in_one_direction(blank: Browser, page: Path, name: str) -> None:
    blank.width(375, 700)
    look(blank, page, name)
    assert blank.run("return [document.documentElement.scrollWidth, window.innerWidth]") == [375, 375]


@pytest.mark.parametrize("name", ALL)
def test_for_screen_readers(blank: Browser, page: Path, name: str) -> None:
    look(blank, page, name)
    assert blank.run("return [...document.querySelectorAll('th')].filter(h => !h.scope).length") == 0
    assert blank.run("return document.querySelectorAll('h1').length") == 1
    unlabelled = (
        "return [...document.querySelectorAll('input, select')].filter(i => !i.labels.length).map(i => i.id)"
    )
    assert blank.run(unlabelled) == []
    nameless = (
        "return [...document.querySelectorAll('button, a, [role=button]')]"
        ".filter(e => !(e.textContent.trim() || e.ariaLabel)).length"
    )
    assert blank.run(nameless) == 0
    levels = blank.run("return [...document.querySelectorAll('h1,h2,h3,h4')].map(h => Number(h.tagName[1]))")
    assert all(b <= a + 1 for a, b in pairwise(levels)), "no heading is left out"
    assert blank.run("const ids = [...document.querySelectorAll('[id]')].map(e => e.id);"
                  "return ids.filter((id, i) => ids.indexOf(id) !== i)") == []  # fmt: skip


#: Contrast by WCAG 2.2 of the text of every visible element on the nearest ground behind it.
CONTRAST = """
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
function rgba(colour) {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
}
const light = c => [0, 1, 2].map(i => c[i] / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
function ground(element) {
  const layers = [];
  for (let e = element; e; e = e.parentElement) layers.push(rgba(getComputedStyle(e).backgroundColor));
  return layers.reverse()
    .reduce((below, over) => below.map((v, i) => v + (over[i] - v) * over[3] / 255), [255, 255, 255]);
}
let worst = [99, ""], count = 0;
for (const element of document.querySelectorAll("body *:not(svg *, script)")) {
  const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  if (!own || !element.checkVisibility() || element.closest(".hidden, .skip")) continue;
  const [a, b] = [light(rgba(getComputedStyle(element).color)), light(ground(element))].sort((x, y) => y - x);
  const found = (a + .05) / (b + .05);
  count += 1;
  if (found < worst[0]) worst = [found, element.outerHTML.slice(0, 200)];
}
return [...worst, count];
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index.html", "datasets/odd.html", "systems/good.html"])
def test_contrast(blank: Browser, page: Path, name: str, scheme: str) -> None:
    blank.media(prefers_color_scheme=scheme)
    look(blank, page, name)
    if name == "index.html":
        blank.click("#intervals")
    else:
        blank.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    ratio, where, count = blank.run(CONTRAST)
    assert count > 30
    assert ratio >= 4.5, where


def test_the_theme_is_switched(at: Browser, page: Path) -> None:
    paper = "return getComputedStyle(document.body).backgroundColor"
    at.media(prefers_color_scheme="dark")
    dark = at.run(paper)
    at.click("#theme")
    assert at.texts("#theme") == ["Theme: light"]
    light = at.run(paper)
    assert light != dark
    at.media(prefers_color_scheme="light")
    at.click("#theme")
    assert at.run(paper) == dark
    look(at, page, "systems/good.html")
    assert at.run(paper) == dark, "kept for other pages"
    at.click("#theme")
    assert at.texts("#theme") == ["Theme: system"]
    assert at.run(paper) == light


def test_nothing_of_a_script_is_needed_to_read(started: Browser, page: Path) -> None:
    started.devtools("Emulation.setScriptExecutionDisabled", value=True)
    try:
        started.open(page / "index.html")
        source: Any = started.devtools(
            "Runtime.evaluate", expression="document.querySelector('main').innerText"
        )
    finally:
        started.devtools("Emulation.setScriptExecutionDisabled", value=False)
    text = source["result"]["value"]
    assert "Without scripts" in text
    assert "middling" in text
    assert "Reset" not in text, "no control that does nothing"
