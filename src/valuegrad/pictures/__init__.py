"""Pictures of graphs without any program beside Python: layout, grouping, SVG, Mermaid, Graphviz's language.

One engine for what Values remember (``valuegrad.inspect.diagram``) and for what programs recorded
(``program.graph.diagram``): both become a ``Shown`` graph.  Nothing here imports NumPy.

Where to start reading: ``shown.py``, then ``diagram.py``.
"""
