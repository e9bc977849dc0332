"""How the pages are built: `make docs`."""

from importlib.metadata import version as version_of
from inspect import signature
from pathlib import Path

from sphinx.application import Sphinx

from bluesky_streamdet.catalog import CODECS, DETECTORS, TRANSFORMS
from bluesky_streamdet.streaming.files import layouts
from bluesky_streamdet.streaming.files.layouts import Layouts
from bluesky_streamdet.streaming.files.layouts.places import places_by

project = "bluesky-streamdet"
author = "bluesky-streamdet contributors"
project_copyright = f"2026, {author}"
version = release = version_of(project)

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nitpicky = True
exclude_patterns = ["_*.md"]

html_theme = "pydata_sphinx_theme"
html_title = project
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": False, "secondary_sidebar_items": ["page-toc"]}


def _write_table_of_detectors(app: Sphinx) -> None:
    """What the catalogue holds, as a page that cannot be out of date."""
    rows = [
        f"| `{name}` | {row.description} | {CODECS[row.codec].description} | "
        f"{row.port if row.modules == 1 else f'{row.port} to {row.port + row.modules - 1}'} | {row.socket.upper()} |"
        for name, row in DETECTORS.items()
    ]
    table = "| name | detector | what it speaks | port | socket |\n| --- | --- | --- | --- | --- |\n" + "\n".join(rows)
    (Path(app.srcdir) / "_detectors.md").write_text(table + "\n", encoding="utf-8")


def _write_table_of_transforms(app: Sphinx) -> None:
    rows = []
    for name, row in TRANSFORMS.items():
        _, *settings = signature(row.function).parameters.values()
        told = ", ".join(
            f"`{one.name}`" if one.default is one.empty else f"`{one.name}: {one.default}`" for one in settings
        )
        rows.append(f"| `{name}` | {row.description} | {told} |")
    table = "| step | what it does | settings, with their defaults |\n| --- | --- | --- |\n" + "\n".join(rows)
    (Path(app.srcdir) / "_transforms.md").write_text(table + "\n", encoding="utf-8")


def _write_table_of_layouts(app: Sphinx) -> None:
    """Where each layout has what, of the dataset `data` of a detector called `DETECTOR`."""
    chosen = {name: Layouts(name, {}).chosen(None) for name in layouts.shipped()}
    places = {name: places_by(one, "DETECTOR", "data") for name, one in chosen.items()}
    rows = {
        "the frames": [one.frames for one in places.values()],
        "number of each frame": [one.columns["sequence_number"] for one in places.values()],
        "when it was received": [one.columns["receive_time"] for one in places.values()],
        "the account": [one.account for one in places.values()],
        "id of the series": [one.identifier for one in places.values()],
        "start, end": [f"{one.start_time}`, `{one.end_time}" for one in places.values()],
        "the frames of `data_white`": [places_by(one, "DETECTOR", "data_white").frames for one in chosen.values()],
    }
    head = " | ".join(f"`{name}`" for name in chosen)
    lines = [f"| | {head} |", "| --- " * (1 + len(chosen)) + "|"]
    lines += [f"| {what} | {' | '.join(f'`{path}`' for path in paths)} |" for what, paths in rows.items()]
    about = [f"`{name}`\n: {one.layout.about}.\n" for name, one in chosen.items()]
    page = "\n".join([*about, *lines])
    (Path(app.srcdir) / "_layouts.md").write_text(page + "\n", encoding="utf-8")


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", _write_table_of_detectors)
    app.connect("builder-inited", _write_table_of_transforms)
    app.connect("builder-inited", _write_table_of_layouts)
