"""The README's examples give what it shows."""

import re

from pages import examples, report
from trees import ROOT, needs_source_tree

README = ROOT / "README.md"


@needs_source_tree
def test_readme_examples_show_what_happens(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # an example writes a file
    assert report(examples(README)) == ""


@needs_source_tree
def test_readme_has_six_examples():
    assert len(re.findall(r"^```python$", README.read_text(encoding="utf-8"), re.MULTILINE)) == 6
