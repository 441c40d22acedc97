"""The README's examples give what it shows."""

import re

from pages import examples, report
from trees import ROOT, needs_source_tree

README = ROOT / "README.md"


@needs_source_tree
def test_readme_examples_show_what_happens():
    assert report(examples(README)) == ""


@needs_source_tree
def test_readme_has_five_examples():
    assert len(re.findall(r"^```python$", README.read_text(encoding="utf-8"), re.MULTILINE)) == 5
