"""SVG of matplotlib as a part of a page: in the colours of the page, and with ids that no other part has."""

import re
from xml.etree import ElementTree

from skvae.plotting import COLORS, FIXED
from skvae.report.groups import MISSING
from skvae.report.text import UNPRINTABLE

# What the page draws in other colours where it is dark: ink, paper, and the colours of categories.
INK, PAPER = "#000000", "#ffffff"
ON_PAGE = {INK: "currentColor", PAPER: f"var(--page,{PAPER})"} | {
    colour: f"var(--hue-{colour[1:]},{colour})" for colour in (*map(str.lower, COLORS), MISSING)
}
COLOUR = re.compile(r"#[0-9a-f]{6}\b")
# Elements that hold more than line feeds, and those that tell of the file or are styles of the whole page.
TEXTS, DROPPED = {"text", "tspan"}, {"metadata", "style"}
# The id that an attribute refers to. An anchor of the page has no full stop, with which the numbers of parts begin.
REFERENCE = re.compile(r"(?<=url\(#)[^)]+")
LINK = re.compile(r"(?<=^#).+")


def embed_svg(svg: str, name: str, alt: str) -> str:
    """Return SVG as an element of HTML.

    Parameters
    ----------
    svg : str
        What `skvae.plotting.figure_to_svg` returned.
    name : str
        An id of the page, which the ids of all parts begin with.
    alt : str
        What the figure shows, for those who do not see it.

    Returns
    -------
    html : str
        The element, of which the style property "--width" is the width that it was drawn for.
    """
    root = ElementTree.fromstring(UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", svg))
    simplify(root)
    paint(root)
    rename(root, name)
    width = root.attrib.pop("width")
    del root.attrib["height"]
    root.attrib |= {"id": name, "role": "img", "aria-label": UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", alt)}
    root.set("style", f"--width:{width}; fill: currentColor; stroke-linejoin: round; stroke-linecap: butt")
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def simplify(root):
    """Drop what HTML does not need: namespaces, line feeds, what tells of the file, and styles of the whole page."""
    for part in list(root.iter()):
        part.tag = part.tag.rpartition("}")[2]
        part.attrib = {key.rpartition("}")[2]: value for key, value in part.attrib.items()}
        part.text = part.text if part.tag in TEXTS else None
        part.tail = None
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in DROPPED]:
            parent.remove(child)


def paint(root):
    """Give parts the colours of the page, but for texts that lie on an image."""
    fixed = {part for group in root.iter() if group.get("id") == FIXED for part in group.iter()}
    for part in root.iter():
        if part not in fixed:
            part.attrib = {
                key: COLOUR.sub(lambda match: ON_PAGE.get(match[0], match[0]), value)
                for key, value in part.attrib.items()
            }
        elif part.get("id") == FIXED:
            part.set("fill", INK)


def rename(root, name):
    """Give numbers after a name to the ids that something refers to, and drop the others."""
    used = dict.fromkeys(
        old for part in root.iter() for key, value in part.attrib.items() for old in reference(key).findall(value)
    )
    numbers = {old: f"{name}.{number}" for number, old in enumerate(used, 1)}
    for part in root.iter():
        old = part.attrib.pop("id", None)
        part.attrib = {
            key: reference(key).sub(lambda match: numbers[match[0]], value) for key, value in part.attrib.items()
        }
        if old in numbers:
            part.set("id", numbers[old])


def reference(key):
    """Return the pattern of an id in an attribute."""
    return LINK if key == "href" else REFERENCE
