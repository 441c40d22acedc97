"""A Value in plain Python: the yardstick of the benchmarks.

The original microgpt's Value is part of a script, not a package, so it cannot be installed beside ours.
This class is written for these benchmarks in its style, and costs what such a class costs: ``__slots__``
of data, grad, children and local gradients; a tuple of each per operation; subtraction and division
made of other operations; a recursive topological sort.

Where to start reading: ``Value.__mul__``, then ``Value.backward``.
"""

import math


class Value:
    """A number that remembers, in the fewest lines."""

    __slots__ = ("_children", "_local_grads", "data", "grad")

    def __init__(self, data, children=(), local_grads=()):
        self.data = data
        self.grad = 0.0
        self._children = children
        self._local_grads = local_grads

    def __add__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    def __pow__(self, n):
        return Value(self.data**n, (self,), (n * self.data ** (n - 1),))

    def log(self):
        """ln(self)."""
        return Value(math.log(self.data), (self,), (1 / self.data,))

    def exp(self):
        """e ** self."""
        out = math.exp(self.data)
        return Value(out, (self,), (out,))

    def relu(self):
        """The larger of self and 0."""
        return Value(max(0.0, self.data), (self,), (float(self.data > 0),))

    def __neg__(self):
        return self * -1

    def __radd__(self, other):
        return self + other

    def __sub__(self, other):
        return self + (-other)

    def __rsub__(self, other):
        return other + (-self)

    def __rmul__(self, other):
        return self * other

    def __truediv__(self, other):
        return self * other**-1

    def __rtruediv__(self, other):
        return other * self**-1

    def backward(self):
        """Fill in ``grad`` of everything self was computed from; recursive, as in the originals."""
        order = []
        seen = set()

        def visit(v):
            if v not in seen:
                seen.add(v)
                for child in v._children:
                    visit(child)
                order.append(v)

        visit(self)
        self.grad = 1.0
        for v in reversed(order):
            for child, local_grad in zip(v._children, v._local_grads):
                child.grad += local_grad * v.grad
