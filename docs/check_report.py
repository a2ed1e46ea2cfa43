"""Check a report of one file: in headless Chromium at the width of a desk and of a phone, light, dark and in print.

Usage: python docs/check_report.py report.html [folder for screenshots]
"""

import re
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTHS = {"desk": 1280, "phone": 390}
SCHEMES = ("light", "dark")
LEAST_CONTRAST = 4.5  # of WCAG AA

WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
BROKEN = """[...document.images, ...document.querySelectorAll("svg image")].map(
    image => image.currentSrc || image.href.baseVal
).filter(address => !address.startsWith("data:image/png;base64,"))"""
LOADED = """async () => {
    const sources = [...document.querySelectorAll("svg image")].map(image => image.href.baseVal);
    const results = await Promise.allSettled(sources.map(source => {
        const image = new Image();
        image.src = source;
        return image.decode();
    }));
    return results.filter(result => result.status === "rejected").length;
}"""
# what is cut off at the right, though the page does not scroll
CUT = """[...document.querySelectorAll("main :is(h2, p, li, dt, dd, th, td, button, svg, canvas)")].filter(element => {
    for (let parent = element.parentElement; parent.tagName !== "MAIN"; parent = parent.parentElement) {
        if (["auto", "scroll"].includes(getComputedStyle(parent).overflowX)) return false;
    }
    return element.getBoundingClientRect().right > innerWidth + 1;
}).map(element => element.tagName + " " + element.textContent.slice(0, 40))"""
# texts of a figure that reach out of it, by more than two of its points
CLIPPED = """[...document.querySelectorAll(".picture svg")].flatMap(svg => {
    const box = svg.getBoundingClientRect(), room = 2 * box.width / svg.viewBox.baseVal.width;
    return [...svg.querySelectorAll("text")].filter(text => {
        const own = text.getBoundingClientRect();
        return own.width && (own.left < box.left - room || own.right > box.right + room
            || own.top < box.top - room || own.bottom > box.bottom + room);
    }).map(text => text.textContent);
})"""
# texts too small to read, in pixels
SMALL = """[...document.querySelectorAll(".picture svg")].flatMap(svg => {
    const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    return [...svg.querySelectorAll("text")].filter(text => parseFloat(getComputedStyle(text).fontSize) * scale < 7.5)
        .map(text => text.textContent);
})"""
# [text, contrast] of each text of the page that lies on a colour of its own or of a parent
CONTRASTS = """() => {
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const parse = colour => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const luminance = ([red, green, blue]) => [red, green, blue].map(value => value / 255).map(
        value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4
    ).reduce((sum, value, place) => sum + value * [0.2126, 0.7152, 0.0722][place], 0);
    const behind = element => {
        for (let parent = element; parent; parent = parent.parentElement) {
            const colour = parse(getComputedStyle(parent).backgroundColor);
            if (colour[3] === 255) return colour;
        }
        return [255, 255, 255, 255];
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (walker.nextNode()) {
        const parent = walker.currentNode.parentElement, text = walker.currentNode.data.trim();
        if (!text || !parent.checkVisibility() || parent.closest("script, style, [fill], .tip")) continue;
        const style = getComputedStyle(parent);
        const ink = parse(parent.closest("svg") ? style.fill : style.color);
        const [one, other] = [luminance(ink), luminance(behind(parent))];
        found.push([text.slice(0, 40), (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05)]);
    }
    return found;
}"""
# a number for each thing that answers to a click or a key and is shown
INTERACTIVE = """() => {
    const things = [...document.querySelectorAll("a[href], button, select, summary, [tabindex='0']")]
        .filter(thing => thing.checkVisibility());
    things.forEach((thing, number) => thing.dataset.thing = number);
    return things.map(thing => thing.tagName + " " + (thing.textContent || thing.ariaLabel || "").slice(0, 40));
}"""
UNFOLD = "document.querySelectorAll('main details').forEach(details => { details.open = true })"
# a place on a canvas, from its corner, where there is a point: a pixel of another colour than the first
POINT = """canvas => {
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const places = [];
    for (let at = 4; at < data.length; at += 4) {
        if ([0, 1, 2].some(k => Math.abs(data[at + k] - data[k]) > 60)) places.push(at / 4);
    }
    const place = places[places.length >> 3], scale = canvas.clientWidth / canvas.width;
    return [place % canvas.width * scale, Math.floor(place / canvas.width) * scale];
}"""
SWITCH_NAMES = "canvas => canvas.closest('figure').querySelector('.toolbar [aria-pressed]').click()"
PIXELS = "canvas => canvas.toDataURL()"


def find_faults(page):
    """Return complaints about a page as it is shown now."""
    wider = page.evaluate(WIDER)
    faults = [f"is {wider} pixels wider than the window"] if wider > 0 else []
    faults += [f"image {address[:60]} is not within the file" for address in page.evaluate(BROKEN)]
    if broken := page.evaluate(LOADED):
        faults.append(f"{broken} images are broken")
    faults += [f"cuts off {text!r}" for text in page.evaluate(CUT)[:3]]
    faults += [f"clips the text {text!r} of a figure" for text in page.evaluate(CLIPPED)[:3]]
    faults += [f"has the small text {text!r} in a figure" for text in page.evaluate(SMALL)[:3]]
    faint = [(text, contrast) for text, contrast in page.evaluate(CONTRASTS) if contrast < LEAST_CONTRAST]
    faults += [f"shows {text!r} with a contrast of {contrast:.1f}" for text, contrast in faint[:5]]
    return faults


def find_unreachable(page):
    """Return complaints about things that the Tab key does not reach."""
    things = page.evaluate(INTERACTIVE)
    page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(2 * len(things) + 5):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.dataset.thing ?? ''"))
    return [f"Tab does not reach {thing!r}" for number, thing in enumerate(things) if str(number) not in reached][:5]


def find_stuck_maps(page):
    """Return complaints about maps that do not move by keys and by the mouse."""
    faults = []
    for number, canvas in enumerate(page.query_selector_all(".cloud canvas"), 1):
        canvas.scroll_into_view_if_needed()
        page.wait_for_timeout(200)
        before = canvas.evaluate(PIXELS)
        canvas.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(200)
        turned = canvas.evaluate(PIXELS)
        page.wait_for_timeout(200)
        if turned == before:
            faults.append(f"map {number} does not move by an arrow key")
        if turned != canvas.evaluate(PIXELS):
            faults.append(f"map {number} moves by itself after it was touched")
        box = canvas.bounding_box()
        canvas.evaluate(SWITCH_NAMES)
        page.wait_for_timeout(200)
        x, y = canvas.evaluate(POINT)
        page.mouse.move(box["x"] + x, box["y"] + y)
        page.wait_for_timeout(200)
        if not canvas.evaluate("canvas => canvas.nextSibling.innerText"):
            faults.append(f"map {number} does not tell of the point under the mouse")
        canvas.evaluate(SWITCH_NAMES)
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2 + 60, box["y"] + box["height"] / 2 + 20, steps=4)
        page.mouse.up()
        page.wait_for_timeout(200)
        if canvas.evaluate(PIXELS) == turned:
            faults.append(f"map {number} does not move by the mouse")
        page.keyboard.press("0")
    return faults


def find_dull_controls(page):
    """Return complaints about tables that do not sort, legends that hide nothing, and code that is not copied."""
    faults = []
    for button in page.query_selector_all("thead th:last-child button")[:1]:
        rows = "document.querySelector('tbody').innerText"
        given = page.evaluate(rows)
        button.click()
        upwards = page.evaluate(rows)
        button.click()
        if len({given, upwards, page.evaluate(rows)}) < 2:
            faults.append("a heading does not sort its table")
        button.click()
        if page.evaluate(rows) != given:
            faults.append("a third click does not restore the order of a table")
    for canvas in page.query_selector_all(".cloud canvas")[:1]:
        button = page.query_selector(".legend button")
        button.scroll_into_view_if_needed()
        before = canvas.evaluate(PIXELS)
        button.click()
        page.mouse.move(0, 0)
        page.wait_for_timeout(200)
        if button.get_attribute("aria-pressed") != "false" or canvas.evaluate(PIXELS) == before:
            faults.append("a button of the legend does not hide its group")
        button.click()
    for button in page.query_selector_all(".code button")[:1]:
        button.click()
        page.wait_for_timeout(100)
        if button.inner_text() != "Copied":
            faults.append("the button beside code does not copy it")
    return faults


def check_view(browser, address, device, scheme, screenshots):
    """Return complaints about the report in one window."""
    page = browser.new_page(
        viewport={"width": WIDTHS[device], "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    heard, asked = [], []
    page.on("console", lambda message: heard.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address, wait_until="networkidle")
    page.wait_for_timeout(500)
    faults = find_faults(page)
    if screenshots is not None:
        page.screenshot(path=screenshots / f"{device}_{scheme}_window.png")
        page.screenshot(path=screenshots / f"{device}_{scheme}.png", full_page=True)
    page.evaluate(UNFOLD)
    page.wait_for_timeout(200)
    faults += find_faults(page)
    if scheme == "light":
        faults += [*find_unreachable(page), *find_stuck_maps(page), *find_dull_controls(page)]
    faults += [f"says {text!r}" for text in heard]
    faults += [f"loads {url[:80]}" for url in asked if url != address and not url.startswith("data:")]
    page.close()
    return [f"{device}, {scheme}: {fault}" for fault in dict.fromkeys(faults)]


def check_motion(browser, address):
    """Return complaints about maps in three dimensions, which turn until they are touched."""
    page = browser.new_page(viewport={"width": WIDTHS["desk"], "height": 900})
    page.goto(address, wait_until="networkidle")
    faults = []
    for canvas in page.query_selector_all(".cloud:has(button:text('Turn')) canvas"):
        canvas.scroll_into_view_if_needed()
        page.wait_for_timeout(300)
        before = canvas.evaluate(PIXELS)
        page.wait_for_timeout(500)
        if canvas.evaluate(PIXELS) == before:
            faults.append("a map in three dimensions does not turn by itself")
    page.close()
    return faults


def check_print(browser, address, screenshots):
    """Return complaints about the report as a PDF, printed from a dark page."""
    page = browser.new_page(viewport={"width": WIDTHS["desk"], "height": 900}, color_scheme="dark")
    page.goto(address, wait_until="networkidle")
    pdf = page.pdf(path=screenshots / "print.pdf" if screenshots is not None else None, print_background=True)
    page.emulate_media(media="print")
    faults = find_faults(page)
    if page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)":
        faults.append("is not white")
    if page.evaluate("[...document.querySelectorAll('nav')].some(nav => nav.checkVisibility())"):
        faults.append("has its contents, which lead nowhere on paper")
    if len(re.findall(rb"/Type\s*/Page\b", pdf)) < 1:
        faults.append("has no pages")
    page.close()
    return [f"print: {fault}" for fault in faults]


def check_without_scripts(browser, address, screenshots):
    """Return complaints about the report where no script runs."""
    context = browser.new_context(java_script_enabled=False, viewport={"width": WIDTHS["desk"], "height": 900})
    page = context.new_page()
    page.goto(address)
    if screenshots is not None:
        page.screenshot(path=screenshots / "no_scripts.png", full_page=True)
    missing = [cloud for cloud in page.query_selector_all(".cloud") if not cloud.query_selector("svg")]
    context.close()
    return [f"without scripts: {len(missing)} maps are missing"] if missing else []


def check(path, screenshots=None):
    """Return complaints about a report."""
    address = path.as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        complaints = [
            complaint
            for device in WIDTHS
            for scheme in SCHEMES
            for complaint in check_view(browser, address, device, scheme, screenshots)
        ]
        complaints += check_motion(browser, address)
        complaints += check_print(browser, address, screenshots)
        complaints += check_without_scripts(browser, address, screenshots)
        browser.close()
    return complaints


def main():
    path = Path(sys.argv[1]).resolve()
    screenshots = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    if screenshots is not None:
        screenshots.mkdir(parents=True, exist_ok=True)
    complaints = check(path, screenshots)
    print("\n".join(complaints) or f"{path.name}: no complaints")
    sys.exit(bool(complaints))


if __name__ == "__main__":
    main()
