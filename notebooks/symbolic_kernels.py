# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Limiting kernels as formulas
#
# From one line, a nonlinearity σ, to the neural tangent kernel Θ as a SymPy expression: its derivatives by Price's
# theorem, its Taylor coefficients, its limits, its eigenvalues on the sphere, and the sign of Tr Φ, which is the sign
# of the trace of the Hessian's second part at initialisation.
#
# The symbols are the first layer's kernel: $q = Σ(x,x)$, $q' = Σ(x',x')$, $c = Σ(x,x')$.

# %%
import sympy as sp

import kernelcalc as kc
from kernelcalc.kernels.symbolic import (
    GaussianExpectation,
    at_rho_one,
    c,
    equations,
    hermite_coefficient,
    kernel,
    mercer,
    on_sphere,
    q,
    qp,
    rho,
    source,
    taylor,
    to_numpy,
)

try:  # a notebook typesets; a script prints
    from IPython.display import display
except ImportError:
    display = print

# %% [markdown]
# ## One expectation
#
# Everything rests on $V = \mathbb E[σ(a)σ(b)]$. For a product of polynomials, exponentials, error functions and steps
# it has a closed form, found by one algebra: nothing below was typed in as a table.

# %%
for text in ("max(x, 0)", "erf(x)", "sin(x)", "x*(1 + erf(x/sqrt(2)))/2", "x*sin(x)"):
    V = GaussianExpectation(kc.Activation(text), kc.Activation(text))
    display(sp.Eq(V, V.doit(), evaluate=False))

# %% [markdown]
# Price's theorem, $∂_c\,\mathbb E[f(a)g(b)] = \mathbb E[f'(a)g'(b)]$, differentiates also what has no closed form, and
# digits are available for any nonlinearity.

# %%
V = GaussianExpectation("tanh", "tanh")
display(V.diff(c))
print(V.subs({q: 1, qp: 2, c: sp.Rational(1, 2)}).evalf(40))

# %% [markdown]
# Mehler's series in the correlation ρ has the squared Hermite coefficients as its coefficients, exactly:

# %%
display(GaussianExpectation("relu", "relu", 1, 1).hermite_series(6, rho))
display([hermite_coefficient("erf", k) for k in range(6)])

# %% [markdown]
# ## From σ to Θ

# %%
net = kc.MLP("erf", depth=2, beta=0.0)
theta = kernel("theta", net)
display(theta)

# %% [markdown]
# Symbols for the scales, if you like:

# %%
s, b = sp.symbols("sigma_w beta", positive=True)
display(kernel("theta", kc.MLP("relu", depth=2), sigma_w=s, beta=b))

# %% [markdown]
# Deeper networks read best layer by layer.

# %%
for equation in equations("theta", kc.MLP("erf", depth=3, beta=0.0)):
    display(equation)

# %% [markdown]
# ## Taylor coefficients and limits

# %%
coefficients = taylor(theta.subs(qp, q), c, 3)
display(coefficients)
assert coefficients[0] == 0

# %%
on = kernel("theta", net, diagonal=True)
display(on)
# The limit ρ → 1 of the off-diagonal formula is the diagonal one.
assert sp.simplify(at_rho_one(theta).subs(qp, q) - on) == 0
# Large inputs: Θ(x, x) of erf grows like √q, that of relu like q.
growth = sp.limit(on / sp.sqrt(q), q, sp.oo)
display(growth)
assert growth == 2 / sp.pi

# %% [markdown]
# ## On the sphere: h(ρ) and its eigenvalues
#
# For inputs of equal norm the kernel is a function of their cosine ρ, and its Gegenbauer coefficients are the
# eigenvalues of the kernel's integral operator. The relu network of two layers without bias misses all odd frequencies
# above the first: it cannot learn them.

# %%
h = on_sphere("theta", kc.MLP("relu", depth=2, sigma_w=2**0.5, beta=0.0))
display(sp.simplify(h))
spectrum = mercer(h, dimension=3, kmax=9)
for k, (value, count) in enumerate(zip(spectrum.eigenvalues, spectrum.multiplicities, strict=True)):
    print(f"k = {k}   λ = {value: .3e}   multiplicity {count}")
assert abs(spectrum.eigenvalues[[3, 5, 7, 9]]).max() < 1e-14

# %% [markdown]
# With a bias, or with one layer more, the odd ones come back:

# %%
deeper = mercer(on_sphere("theta", kc.MLP("relu", depth=3, sigma_w=2**0.5, beta=0.0)), dimension=3, kmax=9)
biased = mercer(on_sphere("theta", kc.MLP("relu", depth=2, sigma_w=2**0.5, beta=0.5)), dimension=3, kmax=9)
print("depth 3:", deeper.eigenvalues[[3, 5, 7, 9]])
print("bias:   ", biased.eigenvalues[[3, 5, 7, 9]])
assert (deeper.eigenvalues[[3, 5, 7, 9]] > 1e-8).all()
assert (biased.eigenvalues[[3, 5, 7, 9]] > 1e-8).all()

# %% [markdown]
# ## The sign of Tr Φ
#
# At initialisation $\mathbb E\,\mathrm{Tr}\,S(0) = \mathrm{Tr}\,Φ/N$: the second part of the Hessian has a positive or
# a negative trace according to the nonlinearity. With two layers $Φ(x,x) = σ_w^2\, q\, \mathbb E[\ddot σ(a)σ(a)]$.

# %%
for name in ("smooth_relu", "erf", "sin", "gelu", "gaussian"):
    phi = kernel("phi", kc.MLP(name, depth=2, beta=0.0), diagonal=True)
    display(sp.Eq(sp.Symbol(f"Phi_{name}"), phi, evaluate=False))

# %% [markdown]
# Smooth relu: positive for every q. Erf, sin and the Gaussian: negative for every q. Gelu: positive for small inputs,
# negative for large ones, with the change at a root of a quadratic:

# %%
phi = kernel("phi", kc.MLP("gelu", depth=2, beta=0.0), diagonal=True)
(change,) = [r for r in sp.solve(sp.numer(sp.together(phi)) / q**2, q) if r.is_positive]
display(change)
assert phi.subs(q, change - 1) > 0 > phi.subs(q, change + 1)

# %% [markdown]
# Subtracting the mean of σ under N(0,1) changes the sign of smooth relu's Φ (Jacot, Gabriel and Hongler 2020,
# section 3.4), and nonlinearities without a closed form answer in digits:

# %%
for name in ("smooth_relu", "softplus", "tanh", "arctan", "silu"):
    act = kc.activation(name)
    plain, standard = (
        kernel("phi", kc.MLP(a, depth=2, beta=0.0), diagonal=True).subs(q, 1).evalf(12) for a in (act, act.normalized())
    )
    print(f"{name:12s} Φ(q=1) = {float(plain):+.6f}   normalised {float(standard):+.6f}")
    if name in ("tanh", "arctan"):
        assert plain < 0
    else:
        assert plain > 0 > standard

# %% [markdown]
# ## Leaving SymPy
#
# The same expression as a NumPy function, and as source text.

# %%
print(to_numpy(theta)([1.0, 2.0], 1.0, [0.5, -0.3]))
print(source(theta, "c", name="theta"))
