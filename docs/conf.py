"""How the pages are built: `make docs`."""

from importlib.metadata import version as version_of

project = "bluesky-streamdet"
author = "bluesky-streamdet contributors"
project_copyright = f"2026, {author}"
version = release = version_of(project)

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nitpicky = True

html_theme = "pydata_sphinx_theme"
html_title = project
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": False, "secondary_sidebar_items": ["page-toc"]}
