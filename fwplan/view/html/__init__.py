"""Answers as self-contained HTML pages. Every figure is computed here: a page runs no script."""

from fwplan.view.html.document import refuse_page
from fwplan.view.html.page import report_html, write_report
from fwplan.view.html.suggested import suggestion_html, write_suggestion

__all__ = ["refuse_page", "report_html", "suggestion_html", "write_report", "write_suggestion"]
