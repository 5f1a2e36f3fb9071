"""The notebooks run from top to bottom, in a short form, and are kept with the outputs of a full run."""

import base64
import re
import struct

import nbformat
import pytest

from tests.support import PROJECT

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@each_notebook
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore::ResourceWarning")
def test_runs_from_top_to_bottom(path, tmp_path, monkeypatch):
    from nbclient import NotebookClient

    monkeypatch.setenv("SMOKE", "1")
    monkeypatch.delenv("MPLBACKEND", raising=False)  # a notebook must not need one
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    for kept, now in zip(nbformat.read(path, as_version=4).cells, notebook.cells, strict=True):
        assert kinds(kept) == kinds(now), f"this cell shows something else than is kept:\n{now.source}"
    assert not list(tmp_path.iterdir())


@each_notebook
def test_is_kept_with_the_outputs_of_a_full_run(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert path.stat().st_size < 800_000


@each_notebook
def test_pictures_have_twice_the_pixels_of_the_page(path):
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                size = struct.unpack(">II", base64.b64decode(output.data["image/png"])[16:24])
                shown = output.metadata["image/png"]
                assert size[0] / shown["width"] == pytest.approx(2, abs=0.02)
                assert size[1] / shown["height"] == pytest.approx(2, abs=0.02)


@each_notebook
def test_names_no_machine(path):
    written = re.sub(r'"image/png": "[^"]*"', "", path.read_text(encoding="utf-8"))
    assert not re.findall(r"(?:/home/|/root/|/tmp/|/Users/|site-packages)\S*", written)


def kinds(cell) -> set[str]:
    """What a cell puts out, by kind; warnings, which differ between machines, aside."""
    found = set()
    for output in cell.get("outputs", []):
        if output.get("name") != "stderr":
            found |= set(output.get("data", {"text": ""}))
    return found
