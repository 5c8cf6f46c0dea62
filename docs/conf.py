"""Settings of Sphinx for ``make docs``."""

from importlib.metadata import version as version_of

project = "opentera-twisted"
author = "the authors of opentera-twisted"
release = version = version_of("opentera-twisted")

extensions = ["myst_parser"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False
html_show_sphinx = False
