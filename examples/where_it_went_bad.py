"""A nan comes out.  Which operation made it?

By default IEEE-754 carries on, and the graph remembers: vg.poison finds the first operation that turned finite numbers
into nan or inf; inside vg.remember_lines() it knows the line too.  In strict mode the operation itself raises.

    $ python examples/where_it_went_bad.py
    utility is nan
      log(margin=-1.0) gave nan from finite inputs
      at where_it_went_bad.py, in utility
      from there it went on through mul → utility
    strict mode: log(margin=-1.0) gave nan from finite inputs
    norm is 0.0, but not all of its gradients are finite
      sqrt(0.0) gave 0.0, but its local gradient ∂/∂child 0 is inf
      so the backward pass added inf * 1.0 = inf to the grad of child 0
      at where_it_went_bad.py, in main
"""

import re

import valuegrad as vg


def utility(wealth, spending):
    """A logarithm of what is left, discounted; nobody thought of spending more than there is."""
    margin = wealth - spending
    margin.name = "margin"
    result = 0.95 * vg.log(margin) + 1.0
    result.name = "utility"
    return result


def show(poison):
    """Print it, without the folder and the line's number, which change with this file."""
    print(re.sub(r"at .*[/\\](\w+\.py):\d+", r"at \1", str(poison)))


def main():
    """Show a nan among the numbers, the same in strict mode, and one among the gradients."""
    wealth, spending = vg.Value(3.0), vg.Value(4.0)
    with vg.remember_lines():
        show(vg.poison(utility(wealth, spending)))
    try:
        with vg.strict():
            utility(wealth, spending)
    except vg.StrictError as error:
        print("strict mode:", str(error).partition(",")[0])
    x = vg.Value(0.0, name="x")
    with vg.remember_lines():
        norm = vg.sqrt(x * x)
    norm.name = "norm"
    show(vg.poison(norm))


if __name__ == "__main__":
    main()
