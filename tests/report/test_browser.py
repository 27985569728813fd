"""The page in a real browser: what a reader sees, clicks and moves. Nothing leaves the page."""

import json
import shutil
import time

import pytest

from modelcollapse.report import write_sweep_report

pytest_plugins = ("report_runs",)

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver on the path"),
]
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,2600",
)
PATIENCE = 60
NASTY = "</script><script>document.title = 'injected'</script><img src=x onerror=\"document.title = 'injected'\">"
CURVES, HISTOGRAMS = "[data-chart=curves-chart]", "[data-chart=histograms-chart]"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}", "about:blank"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_page_load_timeout(PATIENCE)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The page of a grid whose models wrote something nasty."""
    from report_runs import write_grid

    folder = tmp_path_factory.mktemp("sweep")
    write_grid(folder, texts=lambda generation: f"{NASTY} {generation}")
    return write_sweep_report([folder], folder / "report").html.as_uri()


@pytest.fixture
def opened(browser, address):
    """The page, newly opened and drawn; the browser's log is empty before."""
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(address)
    eventually(lambda: len(elements(browser, ".chart svg.marks")) == 2)
    return browser


def elements(browser, selector):
    return browser.find_elements("css selector", selector)


def eventually(holds):
    """Wait until a condition holds: charts are drawn some time after what they follow."""
    deadline = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
    return found


def drawn(browser, chart, kind):
    """The paths of a chart's marks of a kind that are there to be seen."""
    paths = elements(browser, f"{chart} svg.marks .mark-{kind}.role-mark path")
    return [path.get_attribute("d") for path in paths if path.get_attribute("d")]


def curves(browser):
    return drawn(browser, CURVES, "line")


def legend_of(browser, label):
    texts = elements(browser, f"{CURVES} svg.marks .role-legend-label text")
    (found,) = [text for text in texts if text.text == label]
    return found


def choose(browser, element, value):
    """Set a form's element as a reader would, and fire its event."""
    browser.execute_script("arguments[0].value = arguments[1]", element, value)
    for event in ("input", "change"):
        browser.execute_script("arguments[0].dispatchEvent(new Event(arguments[1]))", element, event)


def requests(browser):
    """Addresses that the page asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]


def test_charts_are_drawn_without_an_error_and_without_a_request(opened, address):
    assert len(curves(opened)) == 2
    assert drawn(opened, HISTOGRAMS, "line")
    assert [entry for entry in opened.get_log("browser") if entry["level"] != "INFO"] == []
    outside = [one for one in requests(opened) if one != address and not one.startswith("data:")]
    assert outside == []


def test_what_a_model_wrote_does_not_run(opened):
    assert opened.title == "paper_opt"
    assert NASTY in opened.find_element("css selector", "#continuations td").text


def test_the_slider_moves_the_histogram_through_the_generations(opened):
    slider = opened.find_element("css selector", f"{HISTOGRAMS} input[type=range]")
    title = f"{HISTOGRAMS} svg.marks .role-title-text"
    eventually(lambda: opened.find_element("css selector", title).text == "generation 3")
    last = drawn(opened, HISTOGRAMS, "line")
    choose(opened, slider, 0)
    eventually(lambda: opened.find_element("css selector", title).text == "generation 0")
    assert drawn(opened, HISTOGRAMS, "line") != last


def test_a_click_on_the_legend_switches_a_regime_off_and_on(opened):
    from selenium.webdriver import ActionChains

    both = sorted(curves(opened))
    ActionChains(opened).move_to_element(legend_of(opened, "replace")).click().perform()
    eventually(lambda: len(curves(opened)) == 1)
    point = elements(opened, f"{CURVES} svg.marks .mark-symbol.role-mark path")[1]
    ActionChains(opened).move_to_element(point).click().perform()
    time.sleep(1)
    assert len(curves(opened)) == 1, "a click elsewhere switches nothing"
    ActionChains(opened).move_to_element(legend_of(opened, "replace")).click().perform()
    eventually(lambda: sorted(curves(opened)) == both)


def test_another_metric_and_another_axis_redraw_the_curves(opened):
    before = curves(opened)
    menu = opened.find_element("css selector", f"{CURVES} select")
    assert menu.text.split("\n")[0] == "perplexity (real test)"
    choose(opened, menu, 2)
    seen = [before, eventually(lambda: curves(opened) != before and curves(opened))]
    for box in elements(opened, f"{CURVES} input[type=checkbox]"):
        box.click()
        seen.append(eventually(lambda: curves(opened) not in seen and curves(opened)))


@pytest.mark.parametrize(("layer", "said"), [(0, "seed"), (-1, "95 % interval")])
def test_a_point_says_its_numbers(opened, layer, said):
    from selenium.webdriver import ActionChains

    point = elements(opened, f"{CURVES} svg.marks .mark-symbol.role-mark path")[layer]
    ActionChains(opened).move_to_element(point).perform()
    shown = eventually(lambda: [one.text for one in elements(opened, "#vg-tooltip-element.visible") if one.text])[0]
    assert said in shown
    assert "generation" in shown


@pytest.mark.parametrize("width", [1280, 420])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_the_window(opened, width, scheme):
    feature = {"name": "prefers-color-scheme", "value": scheme}
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    window = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
    script = "return document.querySelector('[data-chart=curves-chart] svg.marks').getBoundingClientRect().width"
    eventually(lambda: 0.7 * width < opened.execute_script(script) <= width)
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width
