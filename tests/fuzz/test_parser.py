"""Random texts for the parser: an answer or a named refusal within a second, and nothing of the text is run.

1,500 texts every day, 100,000 with ``--long``: no failure among n excludes, with 95 % confidence, a share above 3/n.
"""

from __future__ import annotations

import builtins
import collections
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy as sp

import kernelcalc as kc
from kernelcalc.errors import ExpressionError, KernelcalcError
from kernelcalc.expressions.parsing import FUNCTIONS, parse_expression
from tests.fuzz.grammar import ATTACKS, KINDS, ONE, attack, moderate
from tests.fuzz.limits import Slow, limited

x = sp.Symbol("x", real=True)
# Of processor time: other processes do not count.
SECONDS = 1.0
FORBIDDEN = {"os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.remove", "os.mkdir", "socket.connect"}

# Python itself executes text for named tuples and data classes, and modules.
LIBRARY = (str(Path(collections.__file__).parents[1]), "<frozen")

watched: list[tuple[str, str]] = []
watching = [False]


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook, which can not be taken away again: quiet unless asked."""
    if not watching[0]:
        return
    if event == "exec":
        by = sys._getframe(1).f_code.co_filename
        if "site-packages" in by or not by.startswith(LIBRARY):
            watched.append((event, str(arguments[0])))
    if event in FORBIDDEN or (event == "open" and "w" in str(arguments[1])):
        watched.append((event, str(arguments)))


sys.addaudithook(watch)


@pytest.fixture
def canaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Names for attacks: a builtin that notes its use, a file that is not to be; what is executed is noted as well."""
    called = []
    monkeypatch.setattr(builtins, "canary", lambda *a, **k: called.append(a), raising=False)
    watched.clear()
    watching[0] = True
    yield {"canary": "canary", "path": str(tmp_path / "canary")}
    watching[0] = False
    assert called == []
    assert watched == []
    assert list(tmp_path.iterdir()) == []


def judged(text: str, read: Callable[[str], Any]) -> str:
    """What came of a text, in one word."""
    try:
        with limited(SECONDS):
            value = read(text)
    except KernelcalcError as error:
        return "refused" if str(error).startswith("expected ") else f"unsaid: {text!r}"
    except Slow:
        return f"slow: {text!r}"
    except Exception as error:
        return f"{type(error).__name__}: {text!r}"
    assert isinstance(value, sp.Expr), text
    assert value.free_symbols <= {x}, text
    assert not value.has(sp.nan, sp.zoo, sp.oo), text
    return "read"


def as_formula(text: str) -> Any:
    return parse_expression(text, {"x": x})


@pytest.mark.parametrize("kind", KINDS)
def test_answered_or_refused(
    kind: str, long: bool, canaries: dict[str, str], record_property: Callable[[str, object], None]
) -> None:
    rng = np.random.default_rng([len(kind), long])
    make = (lambda rng: attack(rng, **canaries)) if kind == "attack" else KINDS[kind]
    came = collections.Counter(judged(make(rng), as_formula) for _ in range(100_000 // 6 if long else 250))
    record_property("counts", dict(came))
    print(kind, dict(came))
    assert came.keys() <= {"read", "refused"}
    # each kind does what it is for
    assert came["read" if kind in ("plain", "deep", "towers") else "refused"] > 0.05 * came.total()


def test_no_attack_is_read_as_a_formula(canaries: dict[str, str]) -> None:
    read = [text for text in ATTACKS if judged(text.format(**canaries), as_formula) == "read"]
    assert read == []


@pytest.mark.parametrize(
    "code", ["canary()", "open({path!r}, 'w').close()", "__import__('os').system('true')", "1 + 1"]
)
def test_the_canaries_can_sing(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(builtins, "canary", lambda: called.append(1), raising=False)
    watched.clear()
    watching[0] = True
    try:
        eval(code.format(path=str(tmp_path / "canary")))
    finally:
        watching[0] = False
    assert watched
    watched.clear()


def test_python_has_nothing_to_warn_of() -> None:
    """Its tokenizer warns of numbers that run into words, and goes on."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number in ("1", "1.", ".5", "1e5", "0x1", "0xf", "0b1", "0o7", "1j", "1_0", "00"):
            for word in (
                "and",
                "else",
                "for",
                "if",
                "in",
                "is",
                "not",
                "or",
                "else x",
                "inx",
                "lambda",
                "e",
                "x",
                "_",
                "j",
            ):
                for text in (
                    f"{number}{word} x",
                    f"x if {number}{word} x",
                    f"{number} {word}",
                    f"'\\{word}'",
                    f"({number}){word}(2)",
                ):
                    assert judged(text, as_formula) == "refused", text
    assert caught == []


def test_the_grammar_knows_every_function() -> None:
    assert set(ONE) | {"max", "Max", "min", "Min"} == set(FUNCTIONS)


@pytest.mark.parametrize(
    "text",
    [
        "(((9**64)**64)**64)**64",
        "max(exp(exp(exp(exp(exp(1))))), x)",
        "abs(exp(exp(exp(exp(exp(exp(exp(1))))))) - 5)*x",
        "where(1 < Phi(1000), x, 2*x)",
        "silu(silu(silu(silu(silu(silu(silu(silu(silu(1)))))))))",
        "(-(-(-(-(-(-(-3)**0.5)**0.5)**0.5)**0.5)**0.5)**0.5)**0.5*x",
        "max(x, gelu(log1p((64 - 1000)**logistic(3))))",
        "max(x, Phi((gelu(65)**-64)**64))",
        "sech(sech(sech(sech(sech(sech(x)**0.5)**0.5)**0.5)**0.5)**0.5)",
        "x*1e-60**64",
        "1if x else 2",
        "(1)(2)",
        "1e-4000000*x",
        "2**(1e60 - x)",
        "where(x>0,where(x>0,where(x>0,where(x>0,3**64,x)**64,x)**64,x)**64,x)",
        "where(x>0,where(x>0,where(x>0,x*7**64,x)**64,x)**64,x)**64",
        "((((x/3**64)**64)*2)**64)**64",
        "((x+3)**64)**64",
        "where(x>0,where(x>0,(x+3)**64,x)**64,x)**64",
        "max((tanh(x)**-64)**64, x)",
    ],
)
def test_what_was_slow_is_refused(text: str) -> None:
    assert judged(text, as_formula) == "refused"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("exp(-x**2/2)/sqrt(2*pi)", 0.24197072451914337),
        ("(x - sqrt(2/pi))/sqrt(1 - 2/pi)", 0.3352886431817932),
        ("where(x<-2,0,where(x<-1,1,where(x<0,2,where(x<1.5,3,where(x<2,4,x)))))", 3.0),
        ("x + 1e-300", 1.0),
        ("x*2^-0.5", 0.7071067811865476),
        ("sqrt(1 - tanh(1)^2)*x", 0.6480542736638855),
    ],
)
def test_what_people_type_is_read(text: str, value: float) -> None:
    assert float(as_formula(text).subs(x, 1)) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "sqrt(abs(x))",
        "abs(x)^0.3",
        "sqrt(relu(x))",
        "max(x, 0)^(1/3)",
        "sqrt(max(3*x - 2, 0))",
        "sqrt(max(1 + 3*x, relu(x)))/2",
    ],
)
def test_slopes_that_are_infinite_at_a_kink_are_refused(text: str) -> None:
    act = kc.Activation(text)
    assert act(1.0) == pytest.approx(1.0)
    with pytest.raises(ExpressionError, match=r"at its kinks|at the kinks"):
        act.derivative(1)(np.array([1.0]))
    with limited(10.0), pytest.raises(ExpressionError, match=r"at its kinks|at the kinks"):
        kc.MLP(text, 2).kernels(np.eye(2), only=("sigma", "theta"))


def test_whole_numbers_beyond_int64() -> None:
    act = kc.Activation("log(10000000000000000000000000000000000000001)*x + where(x > 0, 12345678901234567890123, 0)")
    at = np.array([-2.0, 3.0])
    np.testing.assert_allclose(act(at), at * np.log(1e40) + np.array([0, 12345678901234567890123.0]), rtol=1e-15)
    assert act.derivative(1)(1.0) == pytest.approx(92.10340371976183, rel=1e-15)


def usable(text: str) -> str:
    """A text as an activation: values and slope at points are finite, or a named refusal."""
    try:
        with limited(10.0), np.errstate(all="ignore"):
            act = kc.Activation(text)
            values = np.asarray(act(np.linspace(-3, 3, 7)))
            slope = np.asarray(act.derivative(1)(np.array([-0.3, 0.7])))
    except KernelcalcError:
        return "refused"
    except Slow:
        return f"slow: {text!r}"
    except Exception as error:
        return f"{type(error).__name__}: {text!r}"
    assert values.dtype == slope.dtype == np.float64, text
    return "read" if np.isfinite(values).all() and np.isfinite(slope).all() else f"not finite: {text!r}"


def test_usable_as_activations(long: bool) -> None:
    rng = np.random.default_rng(7)
    came = collections.Counter(usable(moderate(rng)) for _ in range(3000 if long else 60))
    slow = [key for key in came if key.startswith("slow")]
    print(dict(came))
    # Where SymPy looks for the zeros of odd powers; three in a thousand were seen.
    assert len(slow) <= 1 + 0.01 * came.total()
    assert came.keys() <= {"read", "refused", *slow}
    assert came["read"] > 0.3 * came.total()
