"""The playground: a page in the browser, served from this computer, for who has never seen an autograd.

    valuegrad play            # or: from valuegrad.playground.app import serve; serve()

Why: numbers that explain themselves want to be touched.  Four pages: write an expression and nudge its numbers,
train a GPT, let it write, and look inside it down to one scalar.

A page is a module with three names, listed in ``pages.PAGES``::

    PATH = "/train"                        # its address
    TITLE = "Train"                        # its name in the navigation
    def build(state: PageState) -> None    # makes its elements, with NiceGUI; called once for every open tab

``state`` (``state.py``) is what one open tab has; nothing of it is global, so tabs do not disturb each other:

    state.restore(Settings)      a dataclass of settings out of the address; a default where that is wrong
    state.remember(settings)     puts them into the address, without loading the page again: a link restores them
    state.on_leave(function)     called once when the tab is gone for good (closed, or another page in it)
    state.playground             what all tabs share: ``playground.runs``, the trained and the training models
    state.dark                   whether the page is dark now; ``state.on_dark(function)`` hears of changes

What is no element stands in modules that do not import NiceGUI, and is tested without a browser:
``address`` (settings in the address), ``runs`` (training beside the server), ``uploads``, ``generating``;
``expression_model`` and ``lesson`` (an expression, its nudges, its backward pass), ``snapshots``, ``watching`` and
``inside_model`` (a GPT's weights of earlier steps, its numbers by name, walking between them), ``sketches`` (SVG).
Elements that all pages share, and what they look like: ``theme.py`` and ``style.css``.

Only the modules of the pages, ``app``, ``state`` and ``theme`` need the extra ``play``.

Where to start reading: ``app.serve``, then ``train.build``.
"""
