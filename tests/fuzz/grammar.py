"""Texts for the parser: formulas of its grammar, formulas with damage, and attempts to have something run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

ONE = (
    "exp", "log", "ln", "log1p", "expm1", "sqrt", "sin", "sinc", "cos", "sinh", "cosh", "tanh", "sech", "asinh", "arcsinh",
    "atan", "arctan", "erf", "erfc", "Phi", "normcdf", "abs", "Abs", "sign", "Heaviside", "step", "relu", "sigmoid", "logistic",
    "softplus", "silu", "swish", "gelu",
)  # fmt: skip
MANY = ("max", "Max", "min", "Min")
NUMBERS = (
    "0", "1", "2", "3", "7", "0.5", "1e-3", "1e3", "10", "64", "65", "-1", "1/3", "pi", "e", "E", "0.1", "1_000", "1e-60",
    "1e60", "1e99", "1e400", "1e-400", "9" * 59, "9" * 61, "0." + "0" * 57 + "1", "0x1F", "0b1", "1j",
    "1if", "1.", ".5", "00", "1e",
)  # fmt: skip
EASY = NUMBERS[:17]
OPERATORS = ("+", "-", "*", "/", "**", "^")
COMPARED = ("<", "<=", ">", ">=")
# {canary} is a name that notes that it was called, {path} a file that must not come into being.
ATTACKS = (
    "{canary}()", "{canary}", "__import__('os').system('touch {path}')", "__import__", "open('{path}','w')",
    "eval('{canary}()')", "exec('{canary}()')", "compile('{canary}()','','eval')", "(lambda: {canary}())()",
    "[{canary}() for i in (1,)]", "[{canary}()][0]", "({canary}(),)[0]", "f'{{{canary}()}}'", "x.__class__",
    "x.__class__.__mro__[1].__subclasses__()", "().__class__.__bases__[0]", "x.func", "x.subs(x,1)", "sin.__globals__",
    "x.evalf()", "getattr(x,'func')", "globals()", "locals()", "vars()", "breakpoint()", "input()", "exit()", "help()",
    "S('{canary}()')", "sympify('{canary}()')", "Symbol('x')", "Lambda(x,{canary}())", "lambdify(x,x)", "Function('f')(x)",
    "N({canary}())", "parse_expr('{canary}()')", "x if {canary}() else x", "{canary}() or x", "not {canary}()",
    "(y:={canary}())", "{{**{canary}()}}", "*{canary}()", "max(*{canary}())", "max(x,key={canary})", "x[{canary}()]",
    "x@{canary}()", "sin(x={canary}())", "where({canary}(),x,1)", "where(x>{canary}(),x,1)", "await {canary}()",
    "yield {canary}()", "import os", "x;{canary}()", "x\n{canary}()", "x#\n{canary}()", "x\\\n+{canary}()", "print('a')",
    "'{canary}()'", "b'{canary}()'", "'x'*99999999", "x<{canary}()", "x is {canary}", "x in {canary}()", "...", "None", "True",
    "NotImplemented", "_", "__", "__name__", "__builtins__", "__loader__", "nan", "inf", "oo", "zoo", "I", "Q", "O(x)",
    "Integral(x,x)", "factorial(9**9)", "gamma(x)", "$(touch {path})", "`touch {path}`", "%s", "{{}}", "@", "\\", "'", '"',
)  # fmt: skip
ODD = "".join((
    " \t\n\r\f\v\x00\x07\x1b\x7f\x85\xa0\xad", "\u200b\u200d\u202e\u2028\ufeff\ud800\uffff\U0001f600",
    "\N{SUPERSCRIPT TWO}\N{ARABIC-INDIC DIGIT ONE}\N{FULLWIDTH LATIN SMALL LETTER X}\N{MULTIPLICATION SIGN}"
    "\N{MINUS SIGN}\N{GREEK SMALL LETTER PI}\N{SCRIPT SMALL E}\N{VULGAR FRACTION ONE HALF}\N{CYRILLIC SMALL LETTER HA}"
    "\N{COMBINING ACUTE ACCENT}\N{MATHEMATICAL ITALIC SMALL X}",
    "()[]{},;:.!?'\"`~@#$%&|\\/<>=+-*^_0123456789xyeEIj",
))  # fmt: skip


def formula(rng: np.random.Generator, depth: int, numbers: tuple[str, ...] = NUMBERS, leaf: str = "") -> str:
    """A random formula in x of at most this depth; ``leaf`` stands at one of its ends."""
    if depth == 0 or rng.random() < 0.15:
        return leaf or str(rng.choice(numbers) if rng.random() < 0.35 else "x")
    inner = formula(rng, depth - 1, numbers, leaf)
    kind = rng.integers(8)
    if kind < 3:
        other = formula(rng, depth - 1, numbers)
        operator = OPERATORS[rng.integers(len(OPERATORS))]
        left, right = (inner, other) if rng.random() < 0.5 else (other, inner)
        return f"({left}){operator}({right})" if rng.random() < 0.7 else f"{left}{operator}{right}"
    if kind < 6:
        return f"{rng.choice(ONE)}({inner})"
    if kind == 6:
        return f"{rng.choice(MANY)}({inner}, {formula(rng, depth - 1, numbers)})"
    compared = f"{formula(rng, depth - 2 if depth > 1 else 0, numbers)} {rng.choice(COMPARED)} {inner}"
    return f"where({compared}, {formula(rng, depth - 1, numbers)}, {formula(rng, depth - 1, numbers)})"


def plain(rng: np.random.Generator) -> str:
    return formula(rng, int(rng.integers(1, 6)))


def moderate(rng: np.random.Generator) -> str:
    """A formula without extreme numbers."""
    return formula(rng, int(rng.integers(1, 5)), EASY)


def damaged(rng: np.random.Generator) -> str:
    """A formula with a few characters lost, doubled, swapped, or replaced by odd ones."""
    text = list(plain(rng))
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(len(text) + 1))
        match rng.integers(4):
            case 0:
                del text[at : at + int(rng.integers(1, 4))]
            case 1:
                text.insert(at, ODD[rng.integers(len(ODD))])
            case 2:
                text[at:at] = text[at : at + int(rng.integers(1, 9))]
            case _:
                text[at : at + 2] = reversed(text[at : at + 2])
    return "".join(text)


def attack(rng: np.random.Generator, canary: str = "canary", path: str = "/nonexistent/canary") -> str:
    """Something that would run, alone or as a part of a formula."""
    payload = ATTACKS[rng.integers(len(ATTACKS))].format(canary=canary, path=path)
    return payload if rng.random() < 0.3 else formula(rng, int(rng.integers(1, 4)), EASY, leaf=payload)


def deep(rng: np.random.Generator) -> str:
    """One thing within itself many times."""
    shells: list[Callable[[str], str]] = [
        lambda text: f"({text})", lambda text: f"-{text}", lambda text: f"({text})**2", lambda text: f"({text})**64",
        lambda text: f"2**({text})", lambda text: f"x**({text})", lambda text: f"max({text},1)", lambda text: f"x*({text}+1)",
        lambda text: f"x-relu({text})", lambda text: f"where({text}>0,x,2)", lambda text: f"where(x>0,{text},x)",
        lambda text: f"1/({text})", lambda text: f"({text})**0.5", lambda text: f"({text})*({text})",
        *((lambda text, name=name: f"{name}({text})") for name in rng.choice(ONE, 8)),
    ]  # fmt: skip
    chosen = [shells[i] for i in rng.integers(len(shells), size=rng.integers(1, 3))]
    text = str(rng.choice(["x", "x", "1", "3", "1e9", "0.1"]))
    for k in range(int(2 ** rng.uniform(1, 9))):
        text = chosen[k % len(chosen)](text)
        if len(text) > 3000:
            break
    return text


def towers(rng: np.random.Generator) -> str:
    """Constants that would be huge, tiny, or cost much to compare."""

    def tower(depth: int) -> str:
        if depth == 0:
            return str(rng.choice(NUMBERS))
        match rng.integers(4):
            case 0:
                return f"({tower(depth - 1)})**({tower(depth - 1)})"
            case 1:
                return f"{rng.choice(ONE)}({tower(depth - 1)})"
            case 2:
                return f"({tower(depth - 1)}){OPERATORS[rng.integers(6)]}({rng.choice(NUMBERS)})"
            case _:
                return f"({tower(depth - 1)})**{rng.choice(['64', '63', '-64', '0.5', '1/3', '33.3'])}"

    constant = tower(int(rng.integers(1, 8)))
    forms = [
        "{0}*x",
        "x**({0})",
        "max(x,{0})",
        "abs({0}-1)*x",
        "where({0}>x,x,1)",
        "sign({0})*x",
        "x/({0})",
        "({0})**x",
        "{0}",
    ]
    return str(rng.choice(forms)).format(constant)


def junk(rng: np.random.Generator) -> str:
    size = int(2 ** rng.uniform(0, 8))
    if rng.random() < 0.5:
        return "".join(ODD[i] for i in rng.integers(len(ODD), size=size))
    return "".join(map(chr, rng.integers(1, 0x110000, size=size)))


KINDS: dict[str, Callable[..., Any]] = {
    "plain": plain, "damaged": damaged, "attack": attack, "deep": deep, "towers": towers, "junk": junk,
}  # fmt: skip
