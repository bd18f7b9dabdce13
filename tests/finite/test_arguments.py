"""One place for the loss, and the same arrays taken or refused by everything that takes points, targets or parameters."""

import numpy as np
import pytest
from conftest import make_problem

from kernelcalc.arrays import digest
from kernelcalc.errors import InputError, KernelcalcError, NotFiniteError, ShapeError, UnknownNameError
from kernelcalc.finite import (
    EigenvalueRecord,
    FiniteNetwork,
    HessianSplit,
    MomentRecord,
    NetworkBatch,
    eigenvalues,
    extreme_eigenvalues,
    hessian_moments,
    kernels_through_training,
    spectral_density,
    train,
    train_ensemble,
)

FIN, X, LABELS, _ = make_problem("two hidden, softmax")
BATCH = NetworkBatch(first=FIN, parameters=np.stack([FIN.parameters, -FIN.parameters]))


class Tensor:
    """Like a torch tensor that requires a gradient: NumPy may not have it before it is detached."""

    def __init__(self, values, requires_grad=True):
        self.values, self.requires_grad = np.asarray(values), requires_grad
        self.shape = self.values.shape

    def __len__(self):
        return len(self.values)

    def __matmul__(self, other):
        raise TypeError("unsupported operand")

    def detach(self):
        return Tensor(self.values, False)

    def cpu(self):
        return self

    def __array__(self, dtype=None, copy=None):
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        return self.values.astype(dtype or self.values.dtype)


class Architecture:
    activations, sigma_w, beta, n_out = FIN.activations, 1.0, 0.1, FIN.n_out


def ensemble(x, y):
    record = MomentRecord(X=X, Y=LABELS, kmax=1, loss="softmax")
    return train_ensemble(
        Architecture, x, y, [0.0], width=(3, 3), trials=1, record=record, loss="softmax", method="gd", step=0.1
    )["trace_i"]


OF_POINTS = {
    "outputs": lambda x: FIN(x),
    "jacobian": lambda x: FIN.jacobian(x),
    "ntk": lambda x: FIN.ntk(x),
    "ntk of two sets": lambda x: FIN.ntk(X, x),
    "hessian_trace": lambda x: FIN.hessian_trace(x),
    "output_hessian": lambda x: FIN.output_hessian(x),
    "batch": lambda x: BATCH(x),
    "batch ntk": lambda x: BATCH.ntk(x),
    "ensemble": lambda x: ensemble(x, LABELS),
    "digest": lambda x: np.array(digest(x)),
}
OF_LABELS = {
    "loss": lambda y: FIN.loss(X, y, "softmax"),
    "gradient": lambda y: FIN.gradient(X, y, "softmax"),
    "hessian": lambda y: FIN.hessian(X, y, "softmax"),
    "moments": lambda y: FIN.hessian_moments(X, y, "softmax").trace_h,
    "train": lambda y: FIN.train(X, y, [0.1], loss="softmax").loss,
    "batch loss": lambda y: BATCH.loss(X, y, "softmax"),
    "batch gradient": lambda y: BATCH.gradient(X, y, "softmax"),
    "batch moments": lambda y: BATCH.hessian_moments(X, y, "softmax")[1].trace_h,
    "batch descend": lambda y: BATCH.descend(X, y, 1, 0.1, "softmax").parameters,
    "batch flow": lambda y: BATCH.flow(X, y, 0.1, "softmax").parameters,
    "moment record": lambda y: MomentRecord(X=X, Y=y, loss="softmax")(0.0, FIN)["trace_h"],
    "eigenvalue record": lambda y: EigenvalueRecord(X=X, Y=y, count=2, loss="softmax")(0.0, FIN)["eigenvalues"],
    "ensemble": lambda y: ensemble(X, y),
}
SQUARE = FIN.hessian(X, LABELS, "softmax")
OF_PARAMETERS = {
    "network": lambda w: FiniteNetwork(weights=[w], biases=[np.zeros(len(SQUARE))], activations=[])(
        np.eye(len(SQUARE))
    ),
    "with_parameters": lambda w: (
        FIN.with_parameters(w[0] if isinstance(w, np.ndarray) else Tensor(w.values[0])).parameters
    ),
    "batch": lambda w: NetworkBatch(first=FIN, parameters=w).parameters,
    "operator": lambda w: FIN.curvature(X, LABELS, "softmax").h @ w,
    "eigenvalues": lambda w: eigenvalues(w),
    "extreme_eigenvalues": lambda w: extreme_eigenvalues(w, 2),
    "spectral_density": lambda w: spectral_density(w, steps=3).nodes,
}
TAKERS = [
    pytest.param(take, good, id=f"{name} {what}")
    for what, takers, good in (("x", OF_POINTS, X), ("y", OF_LABELS, LABELS), ("w", OF_PARAMETERS, SQUARE))
    for name, take in takers.items()
]


@pytest.mark.parametrize(("take", "good"), TAKERS)
def test_tensors_that_require_a_gradient_are_detached(take, good):
    np.testing.assert_array_equal(take(Tensor(good)), take(good))


@pytest.mark.parametrize(("take", "good"), TAKERS)
def test_hidden_numbers_are_not_used(take, good):
    np.testing.assert_array_equal(take(np.ma.array(good)), take(good))
    mask = np.zeros(good.shape, dtype=bool)
    mask.flat[0] = True
    with pytest.raises(InputError, match="masked"):
        take(np.ma.array(good, mask=mask))


@pytest.mark.parametrize(("take", "good"), TAKERS)
def test_what_is_no_number_is_named(take, good):
    with pytest.raises(InputError):
        take(np.full(good.shape, "a"))
    # a name of data, and a product, may have NaN
    if take not in (OF_POINTS["digest"], OF_PARAMETERS["operator"]):
        holes = good.astype(float)
        holes.flat[0] = np.nan
        with pytest.raises(NotFiniteError):
            take(holes)


def test_a_missing_label_in_one_hot_rows():
    rows = np.eye(FIN.n_out)[LABELS]
    np.testing.assert_array_equal(FIN.gradient(X, rows, "softmax"), FIN.gradient(X, LABELS, "softmax"))
    rows[2] = np.nan
    with pytest.raises(NotFiniteError):
        FIN.gradient(X, rows, "softmax")


def test_the_loss_stands_in_one_place():
    targets = np.eye(FIN.n_out)[LABELS]
    for owner in (FIN, BATCH):
        for name in ("loss", "gradient", "hessian_moments"):
            take = getattr(owner, name)
            assert repr(take(X, LABELS, "softmax")) == repr(take(X, LABELS, loss="softmax"))
            assert repr(take(X, targets)) == repr(take(X, targets, "mse"))
            with pytest.raises(UnknownNameError, match="softmax"):
                take(X, LABELS, "softmx")
    assert hessian_moments(FIN, X, LABELS, "softmax").loss == FIN.loss(X, LABELS, "softmax")
    assert (FIN.curvature(X, LABELS, "softmax").i @ FIN.parameters).any()
    assert HessianSplit.of(FIN, X, LABELS, "softmax").run.net is FIN


def test_numbers_of_moments_in_either_order():
    expected = FIN.hessian_moments(X, LABELS, loss="softmax", kmax=2).trace_h
    for found in (
        FIN.hessian_moments(X, LABELS, "softmax", 2),
        FIN.hessian_moments(X, LABELS, 2, "softmax"),
        BATCH.hessian_moments(X, LABELS, 2, "softmax")[0],
        hessian_moments(FIN, X, LABELS, "softmax", kmax=2.0),
    ):
        np.testing.assert_array_equal(found.trace_h, expected)
    targets = np.eye(FIN.n_out)[LABELS]
    assert FIN.hessian_moments(X, targets, 3).trace_h.shape == (3,)


@pytest.mark.parametrize(
    "call",
    [
        lambda: FIN.hessian_moments(X, LABELS, 2, 3),
        lambda: FIN.hessian_moments(X, LABELS, None),
        lambda: FIN.hessian_moments(X, LABELS, "softmax", "mse"),
        lambda: FIN.hessian_moments(X, LABELS, "softmax", 2.5),
        lambda: FIN.hessian_moments(X, LABELS, "softmax", probes="many"),
        lambda: FIN.hessian_moments(X, LABELS, "softmax", deflation=0.5),
        lambda: FIN.gradient(X, LABELS, 2),
        lambda: FIN.train(X, LABELS, "softmax"),
        lambda: train(FIN, X, LABELS, [1.0], loss=1),
        lambda: BATCH.descend(X, LABELS, "softmax", 1),
        lambda: BATCH.flow(X, LABELS, "softmax"),
        lambda: FIN.curvature(X, LABELS, "softmax").operator("g"),
        lambda: FIN.curvature(X, LABELS, "softmax").product(FIN.parameters[None], "g"),
        lambda: EigenvalueRecord(X=X, Y=LABELS, loss="softmax", part="g")(0.0, FIN),
        lambda: FiniteNetwork.random(Architecture, (3, 3), 3, dtype="float33"),
        lambda: FiniteNetwork.random(Architecture, (3, 3), 3, dtype=complex),
        lambda: extreme_eigenvalues(SQUARE, "LA"),
        lambda: spectral_density(SQUARE).density(["a"], 1.0),
        lambda: spectral_density(SQUARE).density([0.0], "a"),
        lambda: kernels_through_training(Architecture, X, LABELS, "softmax", widths=[3], trials=1),
    ],
)
def test_other_things_in_these_places_are_refused_by_name(call):
    with pytest.raises(KernelcalcError):
        call()


@pytest.mark.parametrize(("take", "good"), TAKERS)
def test_numbers_held_as_objects_are_numbers(take, good):
    np.testing.assert_array_equal(take(good.astype(object)), take(good.astype(np.float64)))


def test_columns_that_may_miss_values():
    pd = pytest.importorskip("pandas")
    nullable = pd.DataFrame(X).convert_dtypes()
    np.testing.assert_array_equal(FIN(nullable), FIN(X))
    nullable.iloc[0, 0] = pd.NA
    with pytest.raises(InputError, match="X, numbers"):
        FIN(nullable)


@pytest.mark.parametrize("make", [np.ndarray.tolist, np.ma.array, memoryview, lambda v: Tensor(v)])
def test_vectors_of_any_kind(make):
    split = HessianSplit.of(FIN, X, LABELS, "softmax")
    good = np.arange(2.0 * FIN.n_parameters).reshape(2, -1)
    np.testing.assert_array_equal(split.product(make(good)), split.product(good))
    np.testing.assert_array_equal(split.images(make(good))[0], split.images(good)[0])
    with pytest.raises(ShapeError, match="one row a vector"):
        split.product(good.ravel().tolist())
