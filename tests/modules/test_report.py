"""A report as one HTML file: read again by a parser of HTML, decoded, and measured."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.colors import to_hex

from skvae import plotting, report
from skvae.report import (
    Code,
    Columns,
    Document,
    Facts,
    Folded,
    Group,
    Note,
    Paragraph,
    Picture,
    PointCloud,
    Section,
    Table,
    literal,
    make_groups,
)
from skvae.report.anchors import Anchors
from skvae.report.document import SCRIPTS, read
from skvae.report.groups import MISSING
from skvae.report.packing import N_STEPS
from skvae.report.table import number_in

VOID = {"meta", "link", "br", "hr", "img", "input", "wbr"}

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</style></noscript></svg><b>",
    "<!-- <![CDATA[ ]]> -->",
    '"quotes\' & &amp; entities"',
    "CD8\u03b1\u207a T \u2014 \u00df 細胞",
    "😀 e\u0301 \u202eright to left",
    "`code` [words](#main) \\ back",
    "[words](javascript:alert(1))",
    "_under $a^b$ 100%",
    "x" * 500,
)
every_name = pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))


class Page(HTMLParser):
    """Elements of a page: what it shows, what it names, and what it loads; complains of tags that do not match."""

    def __init__(self, html):
        super().__init__()
        self.open, self.faults, self.elements, self.scripts = [], [], [], []
        self.text = ""
        self.feed(html)
        self.close()
        self.faults += [f"<{tag}> is not closed" for tag in self.open]

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes another element")

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif not self.open or self.open[-1] != "style":
            self.text += data

    def attributes(self, *names):
        return [attrs[name] for _, attrs in self.elements for name in names if name in attrs]


def page_of(*elements):
    page = Page(Document("title", "subtitle", [Section("section", elements)]).to_html())
    assert page.faults == []
    return page


def make_cloud(points=None, name="B"):
    points = np.random.default_rng(0).normal(size=(30, 2)) if points is None else points
    half = len(points) // 2
    groups = [Group(name, "#CC6677", np.arange(half)), Group("NK", "#332288", np.arange(half, len(points)))]
    return PointCloud(points, {"type": groups}, f"map of {name}", "A map.")


def draw_points(n=20):
    rng = np.random.default_rng(0)
    figure, [[ax]] = plotting.make_figure(1, 1)
    plotting.plot_embedding(ax, rng.normal(size=(n, 2)), rng.integers(0, 9, n))
    ax.set(title="a title", xlabel="x")
    return figure


def draw_scores():
    figure, [[ax]] = plotting.make_figure(1, 1)
    plotting.plot_scores(ax, np.array([[0.1, 0.9]]), ["row"], ["low", "high"])
    ax.set(title="scores")
    return figure


@pytest.fixture(scope="module")
def document():
    figure = draw_points()
    elements = [
        Paragraph("See `code` and [the maps](#maps) or [more](https://example.org/a?b=1&c=2)."),
        Facts([("cells", "2,638"), ("genes", 2000)]),
        Note("Few cells.", "Beware"),
        Table(["type", "cells"], [["B", 344], ["NK", 155]], "Cells."),
        Folded("more", [Code("print('<>')\n")]),
        Columns([Picture(figure, "points", "Points."), Picture(figure, "points again")]),
        Picture(draw_scores(), "scores"),
    ]
    return Document(
        "A title", "A subtitle", [Section("First", elements), Section("Maps", [make_cloud(), make_cloud()])]
    )


@pytest.fixture(scope="module")
def page(document):
    return Page(document.to_html())


# The page


def test_tags_match(page):
    assert page.faults == []
    assert [tag for tag, _ in page.elements if tag in {"html", "main", "h1", "header", "footer"}] == [
        "html",
        "header",
        "h1",
        "main",
        "footer",
    ]


def test_ids_are_unique_and_what_refers_to_them_finds_them(page):
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    links = [href[1:] for href in page.attributes("href") if href.startswith("#")]
    assert {"main", "first", "maps"} <= set(links) <= set(ids)
    referred = re.findall(r"url\(#([^)]+)\)", " ".join(map(str, page.attributes("style", "clip-path", "fill"))))
    assert referred
    assert set(referred) <= set(ids)
    assert set(page.attributes("aria-labelledby")) <= set(ids)


def test_nothing_is_loaded(page):
    loaded = [
        value
        for tag, attrs in page.elements
        for name, value in attrs.items()
        if name in {"src", "href", "srcset", "data", "poster", "action"} and tag != "a"
    ]
    assert loaded
    assert all(value.startswith(("data:", "#")) for value in loaded)
    assert {href for href in page.attributes("href") if href.startswith("http")} == {"https://example.org/a?b=1&c=2"}
    assert not re.search(r"@import|url\((?!#)", read("report.css"))


def test_the_policy_allows_the_scripts_of_the_page_alone(page):
    [policy] = [attrs["content"] for _, attrs in page.elements if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    [script] = [text for text in page.scripts if not text.startswith("{")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.endswith(f"script-src 'sha256-{digest}'")


def test_files_within_the_page_do_not_end_it():
    for name in (*SCRIPTS, "report.css"):
        assert "</" not in read(name)


def test_a_document_is_the_same_at_each_call(document):
    assert document.to_html() == document.to_html()


def test_the_contents_list_each_section(page):
    hrefs = page.attributes("href")
    assert hrefs.count("#first") == hrefs.count("#maps") - 1 == 3  # two lists and a heading; a paragraph links the maps


def test_sections_of_one_title_have_each_an_anchor():
    html = Document("t", "s", [Section("Same", []), Section("Same", []), Section("細胞", [])]).to_html()
    assert re.findall(r'<section id="([^"]+)"', html) == ["same", "same-2", "part"]


def test_importing_the_builder_needs_no_drawing():
    assert set(report.__all__) >= {"Document", "PointCloud", "make_groups"}


# Names


@every_name
def test_a_name_is_shown_as_it_is(name):
    elements = [
        Paragraph(literal(name)),
        Note(literal(name), name),
        Facts([(name, name)]),
        Table([name, "n"], [[name, 1]], literal(name)),
        Code(name, name),
        Folded(name, [Paragraph("inside")]),
    ]
    page = Page(Document(name, name, [Section(name, elements)]).to_html())
    assert page.faults == []
    assert page.text.count(name) == 17
    assert len(page.scripts) == 1
    assert not [tag for tag, _ in page.elements if tag == "b"]


@every_name
def test_a_name_in_a_map_is_text(name):
    page = page_of(make_cloud(name=name))
    data = json.loads(page.scripts[0])
    assert data["colourings"][0]["groups"][0]["name"] == name
    assert data["label"] == f"map of {name}"
    assert name in page.text  # the legend where no script runs
    assert f"map of {name}" in page.attributes("aria-label")


@every_name
def test_a_name_in_a_figure_is_text(name):
    figure, [[ax]] = plotting.make_figure(1, 1)
    ax.set_title(name[:60], parse_math=False)
    page = page_of(Picture(figure, name, literal(name)))
    assert name[:60] in page.text
    assert name in page.attributes("aria-label")


def test_what_html_cannot_hold_is_replaced():
    figure, _ = plotting.make_figure(1, 1)
    page = page_of(Paragraph("a\x00b\ud800c\x1b"), Picture(figure, "alt\x01"))
    assert "a\ufffdb\ufffdc\ufffd" in page.text
    assert "alt\ufffd" in page.attributes("aria-label")


# Prose


@pytest.mark.parametrize(
    ("markup", "html"),
    [
        ("a `b<c` d", "a <code>b&lt;c</code> d"),
        ("[a b](#c)", '<a href="#c" rel="noreferrer">a b</a>'),
        (r"\[a\](#c) \`b\` \\", "[a](#c) `b` \\"),
        (r"[a \[1\]](https://b.c/d)", '<a href="https://b.c/d" rel="noreferrer">a [1]</a>'),
        ('[a](https://b.c/"onclick=")', '<a href="https://b.c/&quot;onclick=&quot;" rel="noreferrer">a</a>'),
        ("[a](javascript:b)", "[a](javascript:b)"),
        ("[a](data:text/html,b)", "[a](data:text/html,b)"),
        ("a ` b [c", "a ` b [c"),
    ],
)
def test_markup_of_prose(markup, html):
    assert Paragraph(markup).to_html(Anchors()) == f"<p>{html}</p>"


# Tables


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", 12),
        ("1,234.5", 1234.5),
        ("\N{MINUS SIGN}3", -3),
        ("+.5", 0.5),
        ("2.4e-07", 2.4e-7),
        ("<1e-300", 1e-300),
        ("97%", 97),
        ("0.72 ± 0.01", 0.72),
        ("12,34", None),
        ("CD4", None),
        ("1e", None),
        ("e5", None),
        ("nan", None),
        ("%", None),
        ("", None),
    ],
)
def test_the_number_in_a_cell(text, number):
    assert number_in(text) == number


def test_columns_of_numbers_are_aligned_and_carry_their_values():
    rows = [["B", "1,234", "3", np.float64(0.5)], ["NK", "\N{EN DASH}", "x", 2]]
    page = page_of(Table(["type", "cells", "mixed", "share"], rows))
    cells = [(tag, attrs) for tag, attrs in page.elements if tag in {"th", "td"}]
    assert [attrs.get("class") for _, attrs in cells] == [None, "number", None, "number"] * 3
    assert [attrs.get("scope") for tag, attrs in cells if tag == "th"] == ["col"] * 4 + ["row"] * 2
    assert [float(value) for value in page.attributes("value")] == [1234, 0.5, 2]


def test_rows_have_as_many_cells_as_the_header():
    with pytest.raises(ValueError, match="row 1 has 1 cells, expected 2"):
        Table(["a", "b"], [["1", "2"], ["3"]])


def test_tables_may_be_empty():
    assert [tag for tag, _ in page_of(Table(["a", "b"], [])).elements].count("th") == 2


# Figures


def svg_of(figure):
    return Picture(figure, "alt").to_html(Anchors())


def test_texts_and_frames_have_the_colour_of_the_page():
    svg = svg_of(draw_points())
    assert 'style="--width:' in svg
    assert "fill: currentColor" in svg
    assert "stroke: currentColor" in svg  # frames
    assert "#000000" not in svg
    assert "a title</text>" in svg
    assert not re.search(r"<text[^>]*fill", svg)  # of the page, by the element around it


def test_colours_of_categories_are_those_of_the_page():
    svg = svg_of(draw_points(200))
    for colour in plotting.COLORS:
        assert f"var(--hue-{colour[1:].lower()},{colour.lower()})" in svg


def test_texts_on_an_image_keep_their_colour():
    svg = svg_of(draw_scores())
    fixed = re.findall(r'<g fill="#000000"><text ([^>]*)>([^<]*)</text></g>', svg)
    assert [text for _, text in fixed] == ["0.10", "0.90"]
    assert ["fill: #ffffff" in attributes for attributes, _ in fixed] == [True, False]
    assert "scores</text>" in svg


def test_many_points_are_a_bitmap():
    assert "<image" not in svg_of(draw_points(plotting.MAX_PAGE_POINTS))
    svg = svg_of(draw_points(100_000))
    assert svg.count("<image") == 1
    assert len(svg) < 700_000


def test_a_figure_stays_as_it_is():
    figure = draw_points(3000)
    [ax] = figure.axes
    before = ax.get_position().bounds
    first = svg_of(figure)
    assert ax.get_position().bounds == before
    assert not any(collection.get_rasterized() for collection in ax.collections)
    assert svg_of(figure) == first == svg_of(draw_points(3000))


def test_a_figure_tells_nothing_of_how_it_was_made():
    svg = svg_of(draw_points())
    assert "<style" not in svg
    assert "metadata" not in svg
    assert not re.search(r"20\d\d-\d\d", svg)


def test_a_dark_page_mixes_the_colours_of_categories_with_a_quarter_of_white():
    css = read("report.css")
    for colour in plotting.COLORS:
        mixed = [round(0.75 * int(colour[at : at + 2], 16) + 0.25 * 255) for at in (1, 3, 5)]
        [[dark]] = (re.findall(rf"--hue-{colour[1:].lower()}: #(\w{{6}})(?=;)", css),)
        assert np.abs(np.array([int(dark[at : at + 2], 16) for at in (0, 2, 4)]) - mixed).max() <= 1


def luminance(colour):
    values = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


def contrast(one, other):
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_texts_and_dark_marks_have_contrast():
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#\w{6});", block)) for block in read("report.css").split("@media screen", 2)[:2]
    )
    for colours in (light, dark):
        for ink in ("text", "muted", "accent"):
            for paper in ("page", "surface", "stage"):
                assert contrast(colours[ink], colours[paper]) >= 4.5
        assert contrast(colours["warm"], colours["warm-surface"]) >= 4.5
    for name, colour in dark.items():
        if name.startswith("hue") and name != f"hue-{MISSING[1:]}":
            assert contrast(colour, dark["stage"]) >= 2.9


# Maps


def decoded(cloud):
    """Return the points and the codes of each colouring, as the page reads them."""
    data = json.loads(page_of(cloud).scripts[0])
    packed = data["points"]
    steps = np.frombuffer(base64.b64decode(packed["data"]), "<u2").reshape(packed["size"], packed["dimensions"])
    low, high = np.array(packed["low"]), np.array(packed["high"])
    codes = {
        colouring["name"]: np.frombuffer(base64.b64decode(colouring["data"]), f"<u{colouring['bits'] // 8}")
        for colouring in data["colourings"]
    }
    return low + steps / N_STEPS * (high - low), codes, data


@pytest.mark.parametrize("n_dimensions", [2, 3])
def test_coordinates_are_packed_to_a_65535th_of_their_range(n_dimensions):
    points = np.random.default_rng(0).normal(size=(1000, n_dimensions)) * [1e-6, 1e6, 1][:n_dimensions] + 5
    found, codes, _ = decoded(make_cloud(points))
    assert (np.abs(found - points) <= np.ptp(points, axis=0) / N_STEPS).all()
    np.testing.assert_array_equal(codes["type"], np.arange(1000) // 500)


def test_a_constant_coordinate_and_a_single_point():
    points = np.full((1, 2), 7.5)
    found, _, _ = decoded(PointCloud(points, {"type": make_groups(["B"])}, "a point"))
    np.testing.assert_array_equal(found, points)


def test_groups_beyond_255_have_codes_of_16_bits():
    labels = np.arange(300)
    _, codes, data = decoded(PointCloud(np.eye(300, 2), {"cell": make_groups(labels)}, "a map"))
    assert data["colourings"][0]["bits"] == 16
    np.testing.assert_array_equal(codes["cell"], labels)


def test_points_of_no_group_are_grey():
    _, codes, data = decoded(PointCloud(np.eye(4, 2), {"type": [Group("B", "#117733", [2, 0])]}, "a map"))
    np.testing.assert_array_equal(codes["type"], [0, 1, 0, 1])
    assert [(g["name"], g["colour"], g["size"]) for g in data["colourings"][0]["groups"]] == [
        ("B", "#117733", 2),
        ("other", MISSING, 2),
    ]


def test_groups_have_the_colours_and_markers_of_the_figures():
    labels = np.arange(30)
    _, _, data = decoded(PointCloud(np.eye(30, 2), {"cluster": make_groups(labels)}, "a map"))
    groups = data["colourings"][0]["groups"]
    assert len({(group["colour"], group["marker"]) for group in groups}) == 30
    _, [[ax]] = plotting.make_figure(1, 1)
    artists = plotting.plot_embedding(ax, np.eye(30, 2), labels, legend=False)
    assert [group["colour"] for group in groups] == [to_hex(artist.get_facecolor()[0]) for artist in artists]
    assert [group["marker"] for group in groups] == [plotting.MARKERS[k // 9] for k in range(30)]


def test_missing_labels_are_a_last_group():
    groups = make_groups(np.array(["B", None, "NK"], dtype=object), ["NK", "B", "DC"])
    assert [(group.name, group.members.tolist()) for group in groups] == [
        ("NK", [2]),
        ("B", [0]),
        ("DC", []),
        ("missing", [1]),
    ]
    assert groups[-1].colour == MISSING == to_hex(plotting.MISSING)


@pytest.mark.parametrize(
    ("points", "groups", "message"),
    [
        (np.ones((3, 4)), [], r"shape \(3, 4\), must have 2 or 3 columns"),
        (np.array([[0, np.nan]]), [], "points contains NaN"),
        (np.empty((0, 2)), [], "0 sample"),
        (np.eye(3), [Group("B", "#117733", [3])], "'B' go from 3 to 3, must be indices of 3 points"),
        (np.eye(3), [Group("B", "#117733", [-1])], "from -1 to -1"),
        (np.eye(3), [Group("B", "#117733", [True, False, True])], "of type bool, expected indices"),
        (np.eye(3), [Group("B", "#117733", [0]), Group("NK", "#117733", [0])], "'NK' has a point twice"),
        (np.eye(3), [Group("B", "#117733", [1, 1])], "'B' has a point twice"),
    ],
)
def test_points_and_groups_suit_each_other(points, groups, message):
    with pytest.raises(ValueError, match=message):
        PointCloud(points, {"type": groups}, "a map")


def test_there_is_a_colouring():
    with pytest.raises(ValueError, match="at least one"):
        PointCloud(np.eye(3), {}, "a map")


@pytest.mark.parametrize("colour", ["red", "#12345", "#12345g", "#123456;x", ""])
def test_colours_are_six_digits(colour):
    with pytest.raises(ValueError, match="six hexadecimal digits"):
        Group("B", colour, [0])


# Sizes


def report_of(n_points):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 9, n_points)
    points = rng.normal(size=(n_points, 3))
    colourings = {"cluster": make_groups(rng.integers(0, 30, n_points)), "type": make_groups(labels)}
    maps = [PointCloud(points[:, columns], colourings, "a map") for columns in ([0, 1], [1, 2], [0, 2], [2, 1])]
    table = Table([*"abcdefghi"], [[f"{value:.3f}" for value in row] for row in rng.normal(size=(270, 9))])
    pictures = [Picture(draw_points(n_points), "points") for _ in range(6)]
    return Document(
        "title", "subtitle", [Section("all", [*maps, PointCloud(points, colourings, "3-D"), table, *pictures])]
    )


def test_a_report_of_pbmc_size_is_small():
    assert len(report_of(2638).to_html().encode()) <= 5e6


@pytest.mark.slow
def test_a_report_of_100_000_cells_is_small():
    assert len(report_of(100_000).to_html().encode()) <= 15e6
