"""Programs as plain data, for the tests of their files and of what runs them."""

import inspect

import numpy as np

from valuegrad.descriptions import Captured, Leaf, PathDescription, ProgramDescription, Specialisation
from valuegrad.graph import Guard, Nodes

SMALL = ProgramDescription(
    name="area",
    signature=inspect.signature(lambda width, height=2.0: ...),
    options={"dtype": "float64"},
    specialisations=(
        Specialisation(
            arguments=((Leaf(0), Leaf(1)), {}),
            integers=(False, False),
            paths=(PathDescription(Nodes(2).graph([0]), output=Leaf(0)),),
        ),
    ),
)


def rich():
    """A program with everything that a file can hold."""

    def path(expected, captured=(0, 1), branches=()):
        nodes = Nodes(3 + len(captured))  # x, y, the index i, and what was captured
        less = nodes.add("lt", [0, 1])
        large = nodes.add("lt", [nodes.const(10.0), 1])
        softmax = [nodes.add("softmax", [0, 1, 3], number) for number in (0.0, 1.0, 2.0)]
        taken = nodes.add("gather", [*softmax, 2])
        own = nodes.add("custom", [taken, 0, 1, softmax[0], softmax[1]])
        power = nodes.add(
            "round",
            [
                nodes.add(
                    "pow",
                    [
                        own,
                    ],
                    2.5,
                )
            ],
            2.0,
        )
        loss = nodes.add("cross_entropy", [0, 1, 3], 1.0)
        total = nodes.add("sum", [])
        guards = [Guard(less, expected[0], "/home/me/price.py:12, in price")]
        guards += [Guard(large, outcome, "price.py:13, in price") for outcome in expected[1:]]
        return PathDescription(
            nodes.graph([power, loss, total, less, power], guards),
            output={"price": Leaf(0), "rest": [(Leaf(1), None), Leaf(2, (2, 1)), -0.0, 7, "euro"], 3: Leaf(4)},
            branches=dict(branches),
            captured=captured,
            integer_uses=((2, 3), (2, 5)),
        )

    paths = (
        path((True,), branches={0: 1}),
        path((False, True), captured=(1,), branches={1: 2}),
        path((False, False), captured=(1, 0)),
    )
    first = Specialisation(
        arguments=((Leaf(0), {"y": Leaf(1)}), {"i": Leaf(2)}),
        integers=(False, False, True),
        settings={"mode": ("call", [1, 2.5, float("inf")], {"deep": None, "set": True})},
        paths=paths,
    )
    return ProgramDescription(
        name="price",
        signature=inspect.signature(lambda x, /, y=1.5, *more, i, mode="put", **others: ...),
        options={
            "dtype": "float32",
            "strict": True,
            "threads": 4,
            "static": ("mode", 3),
            "vectors": (),
            "reduce": "mean",
        },
        specialisations=(first, *SMALL.specialisations),
        captured=(Captured(1.25, "bias"), Captured(float("nan"))),
        transforms=(("grad", {"argument": (0, 1)}),),
    )


RICH = rich()


def same(a, b):
    """Whether two descriptions are the same, the folders of source lines aside; arrays to the last bit."""
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return repr(a) == repr(b)
    if isinstance(a, str):
        return a.rpartition("/")[2] == b.rpartition("/")[2]
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return type(b) is dict and same([*a.items()], [*b.items()])
    if hasattr(a, "__dataclass_fields__"):
        return type(a) is type(b) and same(vars(a), vars(b))
    return type(a) is type(b) and a == b
