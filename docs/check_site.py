"""Check the built site: links by a parser, pages in headless Chromium at the width of a desk and of a phone.

Usage: python docs/check_site.py docs/_build/html [folder for screenshots]
"""

import shutil
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from playwright.sync_api import sync_playwright

PAGES = {
    "index.html": "skvae",
    "get_started.html": "Get started",
    "choosing_a_model.html": "Choosing a model",
    "coming_from.html": "Coming from",
    "performance.html": "Performance",
    "reproduction.html": "results",
    "gallery/index.html": "Examples",
    "gallery/batches.html": "laboratories",
    "api.html": "API",
    "api/skvae.BetaVSC.html": "BetaVSC",
}
WIDTHS = {"desk": 1280, "phone": 390}
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# what is cut off at the right, though the page does not scroll
CUT = """[...document.querySelectorAll("article :is(h1, h2, h3, p, li, dt, dd, img)")].filter(element => {
    for (let parent = element.parentElement; parent.tagName !== "ARTICLE"; parent = parent.parentElement) {
        if (["auto", "scroll"].includes(getComputedStyle(parent).overflowX)) return false;
    }
    return element.getBoundingClientRect().right > window.innerWidth + 1;
}).map(element => element.tagName + " " + element.innerText.slice(0, 40))"""
BROKEN = "[...document.images].filter(image => !image.complete || image.naturalWidth === 0).map(image => image.src)"


class Page(HTMLParser):
    """The anchors of a page, what it links to, and what it loads."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.assets = set(), [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.anchors |= {attributes[name] for name in ("id", "name") if attributes.get(name)}
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        elif tag == "link" and attributes.get("rel") not in ("canonical", "index", "search", "next", "prev", "author"):
            self.assets.append(attributes["href"])
        elif tag in ("img", "script", "iframe", "source") and attributes.get("src"):
            self.assets.append(attributes["src"])


class Quiet(SimpleHTTPRequestHandler):
    """A server without a log."""

    def log_message(self, format, *args):  # noqa: A002
        pass


def find_dead_links(root):
    """Return complaints about links and assets that lead nowhere, and about assets from elsewhere."""
    paths = [path for path in sorted(root.rglob("*.html")) if "_static" not in path.parts]
    pages = {path.resolve(): Page(path) for path in paths}
    complaints = []
    for path, page in pages.items():
        for link in [*page.links, *page.assets]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.assets and parts.scheme != "data":
                    complaints.append(f"{path.relative_to(root)} loads {link}")
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.is_file():
                complaints.append(f"{path.relative_to(root)} links to {link}, which is not there")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                complaints.append(f"{path.relative_to(root)} links to {link}, which has no such anchor")
    return complaints


def check_pages(root, screenshots=None):
    """Return complaints about pages as a browser shows them."""
    complaints = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=root))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for device, width in WIDTHS.items():
            for name, title in PAGES.items():
                page = browser.new_page(viewport={"width": width, "height": 900})
                heard, asked = [], []
                page.on("console", lambda message, heard=heard: heard.append((message.type, message.text)))
                page.on("pageerror", lambda error, heard=heard: heard.append(("error", str(error))))
                page.on("request", lambda request, asked=asked: asked.append(request.url))
                page.goto(f"{address}/{name}", wait_until="networkidle")
                # images load as they come into view
                page.evaluate("[...document.images].forEach(image => { image.loading = 'eager' })")
                page.wait_for_load_state("networkidle")
                found = [text for kind, text in heard if kind == "error"]
                found += [f"loads {url}" for url in asked if not url.startswith((address, "data:"))]
                found += [f"image {url} is broken" for url in page.evaluate(BROKEN)]
                if title not in page.title():
                    found.append(f"the title is {page.title()!r}, expected {title!r} in it")
                if page.evaluate(WIDER) > 0:
                    found.append(f"is {page.evaluate(WIDER)} pixels wider than the window")
                found += [f"cuts off {text!r}" for text in page.evaluate(CUT)[:3]]
                complaints += [f"{name}, {device}: {text}" for text in found]
                if screenshots is not None:
                    page.screenshot(path=screenshots / f"{name.replace('/', '_')}_{device}.png", full_page=True)
                page.close()
        browser.close()
    server.shutdown()
    return complaints


def main():
    root = Path(sys.argv[1]).resolve()
    screenshots = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    complaints = [*find_dead_links(root), *check_pages(root, screenshots)]
    print("\n".join(complaints) or f"{len(list(root.rglob('*.html')))} pages: no complaints")
    sys.exit(bool(complaints))


if __name__ == "__main__":
    main()
