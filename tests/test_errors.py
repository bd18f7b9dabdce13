"""Errors: their messages, and their way back from another process."""

import pickle

import pytest

from kernelcalc.errors import InputError, MissingExtraError, OutputFileError, ShapeError, UnknownNameError


@pytest.mark.parametrize(
    "error",
    [
        InputError("a depth of at least 1", "depth=0", "use depth=2"),
        ShapeError("X of shape (points, inputs)", "shape (3,)"),
        UnknownNameError("a nonlinearity", "tahn", ["tanh", "relu"]),
        MissingExtraError("numba", "fast", "engine='numba'"),
        OutputFileError("no folder"),
    ],
)
def test_errors_survive_a_worker_process(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)


def test_the_nearest_name_is_suggested():
    assert "'tanh'" in str(UnknownNameError("a nonlinearity", "tahn", ["tanh", "relu"]))
