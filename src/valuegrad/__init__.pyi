# Generated from primitives/table.py by primitives/stubs.py.  Do not edit.
from typing import Final, Literal

from valuegrad import gpt as gpt
from valuegrad import inspect as inspect
from valuegrad import math as math
from valuegrad import nn as nn
from valuegrad import optim as optim
from valuegrad._native import Value as Value
from valuegrad._native import abs as abs
from valuegrad._native import acos as acos
from valuegrad._native import acosh as acosh
from valuegrad._native import add as add
from valuegrad._native import asin as asin
from valuegrad._native import asinh as asinh
from valuegrad._native import atan as atan
from valuegrad._native import atan2 as atan2
from valuegrad._native import atanh as atanh
from valuegrad._native import cbrt as cbrt
from valuegrad._native import ceil as ceil
from valuegrad._native import clamp as clamp
from valuegrad._native import cos as cos
from valuegrad._native import cosh as cosh
from valuegrad._native import cross_entropy as cross_entropy
from valuegrad._native import detach as detach
from valuegrad._native import digamma as digamma
from valuegrad._native import div as div
from valuegrad._native import dot as dot
from valuegrad._native import erf as erf
from valuegrad._native import erfc as erfc
from valuegrad._native import exp as exp
from valuegrad._native import exp2 as exp2
from valuegrad._native import expm1 as expm1
from valuegrad._native import floor as floor
from valuegrad._native import floordiv as floordiv
from valuegrad._native import fmod as fmod
from valuegrad._native import gelu as gelu
from valuegrad._native import hypot as hypot
from valuegrad._native import lgamma as lgamma
from valuegrad._native import log as log
from valuegrad._native import log1p as log1p
from valuegrad._native import log2 as log2
from valuegrad._native import log10 as log10
from valuegrad._native import log_softmax as log_softmax
from valuegrad._native import logsumexp as logsumexp
from valuegrad._native import maximum as maximum
from valuegrad._native import mean as mean
from valuegrad._native import minimum as minimum
from valuegrad._native import mod as mod
from valuegrad._native import mul as mul
from valuegrad._native import neg as neg
from valuegrad._native import norm as norm
from valuegrad._native import norm_cdf as norm_cdf
from valuegrad._native import polygamma as polygamma
from valuegrad._native import pow as pow
from valuegrad._native import prod as prod
from valuegrad._native import relu as relu
from valuegrad._native import sigmoid as sigmoid
from valuegrad._native import sign as sign
from valuegrad._native import silu as silu
from valuegrad._native import sin as sin
from valuegrad._native import sinh as sinh
from valuegrad._native import softmax as softmax
from valuegrad._native import softplus as softplus
from valuegrad._native import sqrt as sqrt
from valuegrad._native import sub as sub
from valuegrad._native import sum as sum
from valuegrad._native import take as take
from valuegrad._native import tan as tan
from valuegrad._native import tanh as tanh
from valuegrad._native import trunc as trunc
from valuegrad._native import where as where
from valuegrad.batch import batch_mean as batch_mean
from valuegrad.batch import batch_sum as batch_sum
from valuegrad.compiling import compile as compile
from valuegrad.custom import primitive as primitive
from valuegrad.errors import CheckpointError as CheckpointError
from valuegrad.errors import ComputedValueError as ComputedValueError
from valuegrad.errors import DatasetError as DatasetError
from valuegrad.errors import DerivativeError as DerivativeError
from valuegrad.errors import EngineWarning as EngineWarning
from valuegrad.errors import ExpressionError as ExpressionError
from valuegrad.errors import ForgetError as ForgetError
from valuegrad.errors import GradientCheckError as GradientCheckError
from valuegrad.errors import GraphError as GraphError
from valuegrad.errors import IndexRangeError as IndexRangeError
from valuegrad.errors import PathsError as PathsError
from valuegrad.errors import PathsWarning as PathsWarning
from valuegrad.errors import PlaygroundError as PlaygroundError
from valuegrad.errors import ProgramFileError as ProgramFileError
from valuegrad.errors import ShapeError as ShapeError
from valuegrad.errors import StrictError as StrictError
from valuegrad.errors import TrainingError as TrainingError
from valuegrad.errors import ValueArgumentError as ValueArgumentError
from valuegrad.errors import ValuegradError as ValuegradError
from valuegrad.errors import ValueTypeError as ValueTypeError
from valuegrad.functional import grad as grad
from valuegrad.functional import hessian as hessian
from valuegrad.functional import hvp as hvp
from valuegrad.functional import jacobian as jacobian
from valuegrad.functional import jvp as jvp
from valuegrad.functional import value_and_grad as value_and_grad
from valuegrad.functional import vjp as vjp
from valuegrad.inspect.check import check_gradients as check_gradients
from valuegrad.inspect.influence import why as why
from valuegrad.inspect.origin import poison as poison
from valuegrad.modes import no_grad as no_grad
from valuegrad.modes import remember_lines as remember_lines
from valuegrad.modes import strict as strict
from valuegrad.program import Program as Program
from valuegrad.program import load as load
from valuegrad.sparse import sparse_hessian as sparse_hessian
from valuegrad.sparse import sparse_jacobian as sparse_jacobian

__version__: Final[str]
engine: Final[Literal["native", "readable"]]
engine_reason: Final[str]

__all__ = [
    "CheckpointError",
    "ComputedValueError",
    "DatasetError",
    "DerivativeError",
    "EngineWarning",
    "ExpressionError",
    "ForgetError",
    "GradientCheckError",
    "GraphError",
    "IndexRangeError",
    "PathsError",
    "PathsWarning",
    "PlaygroundError",
    "Program",
    "ProgramFileError",
    "ShapeError",
    "StrictError",
    "TrainingError",
    "Value",
    "ValueArgumentError",
    "ValueTypeError",
    "ValuegradError",
    "acos",
    "acosh",
    "add",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "batch_mean",
    "batch_sum",
    "cbrt",
    "ceil",
    "check_gradients",
    "clamp",
    "cos",
    "cosh",
    "cross_entropy",
    "detach",
    "digamma",
    "div",
    "dot",
    "engine",
    "engine_reason",
    "erf",
    "erfc",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "floordiv",
    "fmod",
    "gelu",
    "gpt",
    "grad",
    "hessian",
    "hvp",
    "hypot",
    "inspect",
    "jacobian",
    "jvp",
    "lgamma",
    "load",
    "log",
    "log1p",
    "log2",
    "log10",
    "log_softmax",
    "logsumexp",
    "math",
    "maximum",
    "mean",
    "minimum",
    "mod",
    "mul",
    "neg",
    "nn",
    "no_grad",
    "norm",
    "norm_cdf",
    "optim",
    "poison",
    "polygamma",
    "primitive",
    "prod",
    "relu",
    "remember_lines",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "sinh",
    "softmax",
    "softplus",
    "sparse_hessian",
    "sparse_jacobian",
    "sqrt",
    "strict",
    "sub",
    "take",
    "tan",
    "tanh",
    "trunc",
    "value_and_grad",
    "vjp",
    "where",
    "why",
]
