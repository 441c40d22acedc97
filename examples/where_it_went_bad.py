"""A nan comes out.  Which operation made it?

By default IEEE-754 carries on, and the graph remembers: walk from the result to the oldest Value that is not finite
although its children are.  In strict mode the operation itself raises.

    $ python examples/where_it_went_bad.py
    result: nan
    log(-1.0) = nan, from the Value named margin
    strict mode: log(-1.0) gave nan from finite inputs
"""

import math

import valuegrad as vg


def utility(wealth, spending):
    """A logarithm of what is left, discounted; nobody thought of spending more than there is."""
    margin = wealth - spending
    margin.name = "margin"
    return 0.95 * vg.log(margin) + 1.0


def culprit(value):
    """The oldest Value that is not finite although all its children are."""
    for child in value.children:
        if not math.isfinite(child.data):
            return culprit(child)
    return value


def main():
    """Show both ways."""
    wealth, spending = vg.Value(3.0), vg.Value(4.0)
    result = utility(wealth, spending)
    print("result:", result.data)
    bad = culprit(result)
    (cause,) = bad.children
    print(f"{bad.op}({cause.data}) = {bad.data}, from the Value named {cause.name}")
    try:
        with vg.strict():
            utility(wealth, spending)
    except vg.StrictError as error:
        print("strict mode:", str(error).partition(",")[0])


if __name__ == "__main__":
    main()
