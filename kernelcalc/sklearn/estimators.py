r"""The trained infinitely wide network as an estimator."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from kernelcalc.arguments import check_count, check_number, floats, random_generator
from kernelcalc.arrays import AnyArray, Array, plain
from kernelcalc.datasets.labels import label_vector
from kernelcalc.errors import InputError
from kernelcalc.kernels.mlp import MLP, Sequential
from kernelcalc.kernels.network import check_network
from kernelcalc.studies.heldout import class_shares, sampled_outputs
from kernelcalc.studies.regression import pointwise_law
from kernelcalc.training.losses import resolve_loss


class _WideNetwork(BaseEstimator):
    """What regressor and classifier share: the network, and its training."""

    activation: Any
    depth: int
    sigma_w: float
    beta: float
    net: Sequential | None
    time: float
    ridge: float
    diag_reg: float
    network_: Sequential
    X_fit_: Array
    targets_: Array

    def __init__(
        self,
        activation: Any = "relu",
        *,
        depth: int = 3,
        sigma_w: float = 1.0,
        beta: float = 0.1,
        net: Sequential | None = None,
        time: float = math.inf,
        ridge: float = 0.0,
        diag_reg: float = 0.0,
    ) -> None:
        self.activation, self.depth, self.sigma_w, self.beta = activation, depth, sigma_w, beta
        self.net, self.time, self.ridge, self.diag_reg = net, time, ridge, diag_reg

    def _keep(self, x: Array, targets: Array) -> None:
        check_number("time", self.time, finite=False)
        check_number("ridge", self.ridge)
        check_number("diag_reg", self.diag_reg)
        net = self.activation if self.net is None and isinstance(self.activation, Sequential) else self.net
        if net is None:
            net = MLP(self.activation, depth=self.depth, sigma_w=self.sigma_w, beta=self.beta)
        check_network(net)
        self.network_ = net
        self.X_fit_, self.targets_ = x, targets

    def _law(self, X: Any, *, std: bool = True) -> tuple[Array, Any]:
        """Mean (M, n_out) and, where wanted, standard deviation (M,) of one network's outputs under MSE."""
        check_is_fitted(self)
        x = validate_data(self, _numbers(X), dtype=np.float64, reset=False)
        data = self.X_fit_, self.targets_, x, self.time
        law = pointwise_law(self.network_, *data, ridge=self.ridge, diag_reg=self.diag_reg, std=std)
        return law.mean, law.std


class WideNetworkRegressor(RegressorMixin, _WideNetwork):
    r"""The infinitely wide network trained on the MSE by gradient flow for a time: kernel regression with Θ.

    Parameters
    ----------
    activation, depth, sigma_w, beta
        As for :class:`kernelcalc.MLP`; or a network in place of the activation.
    net : Sequential, optional
        A network in their place.
    time : float
        Gradient-flow time; infinity is the end of training.
    ridge, diag_reg : float
        Added to Θ's diagonal, in units of Θ and of the mean of its diagonal.

    Attributes
    ----------
    network_ : MLP or Sequential
        What was trained.
    X_fit_, targets_ : ndarray
        The training data.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Section 3; see :func:`kernelcalc.studies.regression.predict_outputs`.

    Examples
    --------
    >>> model = WideNetworkRegressor("erf", depth=2).fit([[0.0, 1.0], [1.0, 0.0]], [1.0, -1.0])
    >>> model.predict([[0.0, 1.0]]).round(9)
    array([1.])
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Keep the data: training has a closed form.

        Raises
        ------
        InputError
            Targets that are no numbers; X with masked entries, or of dates; other parameters that are none.
        """
        y = floats(y, "y", "numbers") if _kind(y) in "OTUSmM" else y
        x, targets = validate_data(self, _numbers(X), y, dtype=np.float64, multi_output=True, y_numeric=True)
        self._keep(x, np.asarray(targets, dtype=np.float64))
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Mean output of trained networks, and with ``return_std`` the standard deviation of one network's."""
        mean, std = self._law(X, std=return_std)
        mean = mean[:, 0] if self.targets_.ndim == 1 else mean
        if not return_std:
            return mean
        return mean, std if mean.ndim == 1 else np.broadcast_to(std[:, None], mean.shape).copy()

    def __sklearn_tags__(self) -> Any:
        """Several targets are fine."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class WideNetworkClassifier(ClassifierMixin, _WideNetwork):
    r"""The infinitely wide network trained to classify, one output a class.

    Parameters
    ----------
    activation, depth, sigma_w, beta
        As for :class:`kernelcalc.MLP`; or a network in place of the activation.
    net : Sequential, optional
        A network in their place.
    loss : {"mse", "softmax"}
        The MSE to one-hot targets, in closed form; or softmax cross-entropy, by ``samples`` draws of the initialisation.
    time : float
        Gradient-flow time, finite for softmax.
    ridge, diag_reg : float
        Under MSE, as for :class:`WideNetworkRegressor`.
    samples : int
        Initialisations, for softmax.
    random_state : int
        Their seed.

    Attributes
    ----------
    classes_ : ndarray
        The labels.
    network_, X_fit_, targets_
        The network and its data, targets one-hot.

    Notes
    -----
    ``predict_proba`` is under MSE the share of trained networks that choose the class, under softmax their mean probability.

    References
    ----------
    Jacot, Gabriel, Hongler (ICLR 2020), Section 3 and Theorem 1.

    Examples
    --------
    >>> X, y = [[0.0, 1.0], [1.0, 0.0], [0.1, 1.0]], ["a", "b", "a"]
    >>> WideNetworkClassifier("erf", depth=2, ridge=1e-3).fit(X, y).predict([[0.0, 0.9]]).tolist()
    ['a']
    """

    loss: str
    samples: int
    random_state: int
    classes_: AnyArray

    def __init__(
        self,
        activation: Any = "relu",
        *,
        depth: int = 3,
        sigma_w: float = 1.0,
        beta: float = 0.1,
        net: Sequential | None = None,
        loss: str = "mse",
        time: float = math.inf,
        ridge: float = 0.0,
        diag_reg: float = 0.0,
        samples: int = 16,
        random_state: int = 0,
    ) -> None:
        super().__init__(
            activation, depth=depth, sigma_w=sigma_w, beta=beta, net=net, time=time, ridge=ridge, diag_reg=diag_reg
        )
        self.loss, self.samples, self.random_state = loss, samples, random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Keep the data.

        Raises
        ------
        InputError
            A loss other than these two; for softmax a ridge, or a time that is negative or not finite. Numbers and text
            mixed in the labels, missing labels, bytes; X with masked entries, or of dates; other parameters that are none.
        """
        check_count("samples", self.samples, 2)
        random_generator(self.random_state)
        if self.loss not in ("mse", "softmax"):
            raise InputError("loss 'mse' or 'softmax'", repr(self.loss))
        if self.loss == "softmax":
            if not math.isfinite(check_number("time", self.time, finite=False)):
                raise InputError("a finite time for softmax", f"time={self.time}", "time=100, for example")
            if self.ridge or self.diag_reg:
                raise InputError(
                    "a ridge under MSE", f"ridge={self.ridge}, diag_reg={self.diag_reg} and loss 'softmax'"
                )
        x, labels = validate_data(self, _numbers(X), _labels(y), dtype=np.float64)
        check_classification_targets(labels)
        self.classes_, index = np.unique(labels, return_inverse=True)
        self._keep(x, np.eye(len(self.classes_))[index])
        return self

    def _samples(self, X: Any) -> Array:
        """Outputs (samples, M, classes) under softmax."""
        check_is_fitted(self)
        x = validate_data(self, _numbers(X), dtype=np.float64, reset=False)
        law = resolve_loss("softmax")
        seed = self.random_state
        found: Array = sampled_outputs(
            self.network_, self.X_fit_, self.targets_, x, law, self.time, self.samples, seed
        )[0]
        return found

    def decision_function(self, X: Any) -> Any:
        """Mean outputs (M, classes); for two classes that of the second minus that of the first, (M,)."""
        mean = self._law(X, std=False)[0] if self.loss == "mse" else self._samples(X).mean(axis=0)
        return mean[:, 1] - mean[:, 0] if len(self.classes_) == 2 else mean

    def predict_proba(self, X: Any) -> Any:
        """Share of networks that choose each class (MSE), or their mean probabilities (softmax), (M, classes)."""
        if self.loss == "softmax":
            return softmax(self._samples(X), axis=-1).mean(axis=0)
        shares = class_shares(*self._law(X))
        return shares / shares.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> Any:
        """The class of the largest mean output."""
        score = self.decision_function(X)
        return self.classes_[score.argmax(axis=1) if score.ndim == 2 else (score > 0).astype(int)]


def _numbers(X: Any) -> Any:
    """X for scikit-learn to check, which would take what is under a mask, and seconds since 1970 of dates."""
    if isinstance(X, np.ma.MaskedArray) or getattr(getattr(X, "dtype", None), "kind", "") in ("m", "M"):
        return floats(X, "X", "numbers")
    return X


def _kind(y: Any) -> str:
    """What y holds, as NumPy's letter; of none it holds numbers, which scikit-learn then misses."""
    return "f" if y is None else plain(y, "y").dtype.kind


def _labels(y: Any) -> Any:
    """Labels of text and of objects, all of one kind; those of numbers as they are, for scikit-learn to check."""
    if _kind(y) not in "OTUS":
        return y
    labels = label_vector(y)
    if labels.dtype.kind == "S":
        raise InputError("labels that are numbers or text", "bytes", "decode them: label.decode()")
    return labels
