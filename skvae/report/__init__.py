"""A report: one HTML file, with all it needs inside, that opens anywhere without a network."""

from skvae.report.code import Code
from skvae.report.columns import Columns
from skvae.report.document import Document
from skvae.report.element import Element
from skvae.report.facts import Facts
from skvae.report.folded import Folded
from skvae.report.groups import Group, make_groups
from skvae.report.picture import Picture
from skvae.report.point_cloud import PointCloud
from skvae.report.prose import Note, Paragraph
from skvae.report.section import Section
from skvae.report.table import Table
from skvae.report.text import literal

__all__ = [
    "Code",
    "Columns",
    "Document",
    "Element",
    "Facts",
    "Folded",
    "Group",
    "Note",
    "Paragraph",
    "Picture",
    "PointCloud",
    "Section",
    "Table",
    "literal",
    "make_groups",
]
