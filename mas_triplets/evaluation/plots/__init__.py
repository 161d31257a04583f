"""The drawings of reports, as SVG to put inside a page: same numbers, same bytes; readable without colours."""
