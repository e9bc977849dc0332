"""The description of the REST interface as one page, made of its OpenAPI document; it needs no internet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #dde3ea; background: #101418; }}
a {{ color: #7cc4ff }} code, .m {{ font-family: ui-monospace, monospace; }}
.m {{ background: #26303a; border-radius: 4px; padding: 0 .4em; }}
section {{ border-top: 1px solid #2c3640; padding: .8rem 0; }} h2 {{ font-size: 1.05rem; margin: 0; }}
table {{ border-collapse: collapse; margin: .4rem 0; }}
td {{ padding: .1rem 1rem .1rem 0; vertical-align: top; }} .dim {{ color: #98a4b0; }}
</style><h1>{title}</h1><p>{text} <a href="./">Live page</a> · <a href="openapi.json">OpenAPI</a></p>
<p>Reading is open on the machine itself. What changes anything (marked ●) needs the key:
<code>Authorization: Bearer KEY</code>. Failures answer
<code>{{"error": {{"code", "message", "hint"}}}}</code>.</p>"""


def page(document: Mapping[str, Any]) -> str:
    """An HTML page of an OpenAPI document."""
    info = document["info"]
    head = HEAD.format(title=escape(info["title"]), text=escape(info["description"]))
    return head + "".join(_operations(document)) + "<h1>Bodies</h1>" + "".join(_schemas(document)) + "</html>"


def _operations(document: Mapping[str, Any]) -> Iterator[str]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            mark = " ●" if operation.get("security") else ""
            yield f'<section><h2><span class="m">{method.upper()}</span> <code>{escape(path)}</code>{mark}</h2>'
            yield f"<p>{escape(operation.get('description', operation['summary']))}</p>"
            rows = [
                (one["name"], _kind(one["schema"]), one.get("description", ""))
                for one in operation.get("parameters", [])
            ]
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if body is not None:
                rows.append(("body", _kind(body["schema"]), ""))
            rows += [(code, _kind(_schema_of(one)), one["description"]) for code, one in operation["responses"].items()]
            yield _table(rows) + "</section>"


def _schemas(document: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in document["components"]["schemas"].items():
        if "properties" not in schema:
            continue
        yield f'<section id="{escape(name)}"><h2><code>{escape(name)}</code></h2>'
        yield f"<p>{escape(schema.get('description', ''))}</p>"
        yield _table([(key, _kind(one), one.get("description", "")) for key, one in schema["properties"].items()])
        yield "</section>"


def _table(rows: list[tuple[str, str, str]]) -> str:
    """Name, kind (as HTML) and text of each row."""
    cells = (
        f'<tr><td><code>{escape(name)}</code><td>{kind}<td class="dim">{escape(text)}' for name, kind, text in rows
    )
    return f"<table>{''.join(cells)}</table>"


def _schema_of(response: Mapping[str, Any]) -> Mapping[str, Any]:
    return response.get("content", {}).get("application/json", {}).get("schema", {})


def _kind(schema: Mapping[str, Any]) -> str:
    """What a value is, as HTML, with links to what is described below."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(escape(str(one)) for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return escape(str(schema.get("const", schema.get("type", ""))))
