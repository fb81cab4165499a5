"""Tests of semexplain.report in a real browser: Chromium and its driver (``apt-get install chromium-driver``)."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from semexplain.explanation import Explanation
from semexplain.report.comparison import comparison_report
from semexplain.report.figures.summary import summary
from semexplain.report.run import images_report, run_report
from semexplain.runs.run import Run

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="there is no Chromium with chromedriver: pages are not opened in a browser"
)


@pytest.fixture(scope="module")
def shown() -> Explanation:
    generator = torch.Generator().manual_seed(0)
    values, weights = (torch.randn(12, 9, generator=generator) for _ in range(2))
    score = (values * weights).sum(1) + torch.randn(12, generator=generator)
    return Explanation(
        score,
        values,
        weights,
        torch.tensor(0.25),
        ("Arched_Eyebrows", "Bald", "Chubby", "Goatee", "Male", "Smiling", "Wearing_Necktie", "Young", "Mustache"),
        "Attractive",
        tuple(f"face-{i:02}-with-a-long-name-that-must-not-run-out-of-its-card.jpg" for i in range(12)),
        label=torch.arange(12) % 2 == 0,
        image=torch.randint(0, 256, (12, 3, 96, 96), generator=generator, dtype=torch.uint8),
        heat=torch.rand(12, 96, 96, generator=generator),
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: webdriver.Chrome, shown: Explanation, tmp_path: Path) -> webdriver.Chrome:
    path = images_report(tmp_path / "report.html", shown, shown, "twelve faces", [], {"summary": summary})
    browser.get(path.as_uri())
    return browser


def names(page: webdriver.Chrome) -> list[int]:
    """Numbers of the visible images, in their order on the page."""
    headings = page.find_elements(By.CSS_SELECTOR, ".card:not([hidden]) h3")
    return [int(heading.text[5:7]) for heading in headings]


@pytest.fixture(scope="module")
def pages(sweep: Path) -> Path:
    """A folder with the pages of two runs and of their comparison."""
    for number in ("0", "1"):
        run_report(Run(sweep / number))
    comparison_report([Run(sweep / "0"), Run(sweep / "1")], sweep / "report.html")
    return sweep


@pytest.mark.parametrize("name", ["1/report.html", "report.html"])
def test_the_pages_of_runs_open_whole(browser: webdriver.Chrome, pages: Path, name: str) -> None:
    browser.get((pages / name).as_uri())
    assert_quiet(browser)
    for width in (400, 1400):
        assert_whole(browser, width)
    headings = [heading.text for heading in browser.find_elements(By.TAG_NAME, "h2")]
    assert len(headings) > 1
    assert all(image.get_attribute("alt") for image in browser.find_elements(By.TAG_NAME, "img"))


def test_a_comparison_leads_to_its_runs(browser: webdriver.Chrome, pages: Path) -> None:
    browser.get((pages / "report.html").as_uri())
    links = [
        link.get_attribute("href") for link in browser.find_elements(By.CSS_SELECTOR, "main a[href$='report.html']")
    ]
    assert links == [(pages / number / "report.html").as_uri() for number in ("0", "1")]


def assert_quiet(page: webdriver.Chrome) -> None:
    """Neither errors in the console nor requests to anywhere."""
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert asked
    assert all(url.startswith(("file:", "data:")) for url in asked)


def test_the_page_opens_without_errors_or_requests(page: webdriver.Chrome) -> None:
    assert_quiet(page)


def test_sorting(page: webdriver.Chrome, shown: Explanation) -> None:
    sort = Select(page.find_element(By.ID, "sort"))
    assert names(page) == list(range(12))
    sort.select_by_value("residual")
    assert names(page) == shown.residual.abs().argsort(descending=True).tolist()
    sort.select_by_value("low")
    assert names(page) == shown.score.argsort().tolist()
    sort.select_by_visible_text("goatee")
    assert names(page) == shown.contributions[:, 3].argsort(descending=True).tolist()
    sort.select_by_value("entropy")
    share = shown.contributions.abs() / shown.contributions.abs().sum(1, keepdim=True)
    assert names(page) == (-(share * share.log()).sum(1)).argsort().tolist()


def test_filtering_and_search(page: webdriver.Chrome, shown: Explanation) -> None:
    wrong = [i for i in range(12) if bool(shown.label[i]) != (float(shown.score[i]) > 0)]
    choose = Select(page.find_element(By.ID, "filter"))
    choose.select_by_value("wrong")
    assert names(page) == wrong
    assert page.find_element(By.ID, "count").text == f"{len(wrong)} images"
    choose.select_by_value("all")
    search = page.find_element(By.ID, "search")
    search.send_keys("face-07")
    assert names(page) == [7]
    search.send_keys("x")
    assert names(page) == []
    assert page.find_element(By.ID, "none").is_displayed()


def test_the_bars_of_an_image_add_up_to_the_printed_score(page: webdriver.Chrome) -> None:
    for card in page.find_elements(By.CSS_SELECTOR, ".card"):
        score = float(card.find_element(By.CSS_SELECTOR, ".score").text)
        bars = card.find_elements(By.CSS_SELECTOR, ".bars .value")
        assert len(bars) > 3
        assert sum(float(bar.text) for bar in bars) == pytest.approx(score, abs=0.0005 * (len(bars) + 1))


@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_is_cut_off(page: webdriver.Chrome, width: int) -> None:
    assert_whole(page, width)


def assert_whole(page: webdriver.Chrome, width: int) -> None:
    """Nothing is wider than the window, but for what scrolls by itself."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    beyond = """return [...document.querySelectorAll('main *')].filter((element) => {
        if (element.closest('.scroll, pre, .unseen, details:not([open]), option, optgroup')) return false;
        const box = element.getBoundingClientRect();
        return box.width > 1 && (box.right > innerWidth + 1 || box.left < -1);
    }).map((element) => element.outerHTML.slice(0, 80))"""
    assert page.execute_script(beyond) == []
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_all_controls_are_reached_by_the_keyboard(page: webdriver.Chrome) -> None:
    reached = []
    page.execute_script("document.activeElement.blur()")
    for _ in range(12):
        page.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(page.switch_to.active_element.get_attribute("id"))
    positions = [reached.index(name) for name in ("sort", "filter", "search")]
    assert positions == sorted(positions)


def test_light_and_dark(page: webdriver.Chrome) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        grounds.append(page.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(250, 250, 250)", "rgb(22, 22, 22)"]
