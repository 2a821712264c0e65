"""An explanation as one self-contained HTML page. Every figure is computed here: the page runs no script."""

from fwplan.report.page import report_html, write_report

__all__ = ["report_html", "write_report"]
