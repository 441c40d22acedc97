"""Graphs made runnable: what executes a program's graph over the lanes of a batch.

``readable.ReadableCode`` walks a graph in Python, one lane after another: the executable specification, and what
runs where the compiled modules were not built.
"""
