"""Runs a notebook in a clean kernel, with warnings as errors: `python notebook.py NOTEBOOK RESULT`.

Of its own process, so that nothing of a kernel stays with who wants the result, which is the notebook with outputs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

LONGEST = 60
"""Seconds that a cell may take."""
FIRST = """
import warnings
warnings.simplefilter("error")
# What the kernel says of itself at its end.
warnings.filterwarnings("ignore", module="ipykernel")
"""


def run(notebook: Path, result: Path) -> None:
    content = nbformat.read(notebook, as_version=4)
    content.cells.insert(0, nbformat.v4.new_code_cell(FIRST))
    with TemporaryDirectory(prefix="kernel-", dir="/tmp") as folder:
        # No port of this machine, that others could take or connect to.
        kernel = AsyncKernelManager(transport="ipc", connection_file=f"{folder}/kernel.json")
        client = NotebookClient(content, kernel, timeout=LONGEST, resources={"metadata": {"path": str(result.parent)}})
        try:
            client.execute(cleanup_kc=True)
        finally:
            nbformat.write(content, result)


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]))
