"""Networks from text: what is read, and that nothing else is."""

import numpy as np
import pytest
from click.testing import CliRunner

import kernelcalc as kc
from kernelcalc.cli import main
from kernelcalc.errors import InputError, UnknownNameError
from kernelcalc.kernels.architecture import network_from_text
from kernelcalc.kernels.layers import AveragePool, Conv, Dense, Flatten, GlobalAverage, LayerNorm, Residual

D = Dense(1.5, 0.2)
R = Residual("tanh", D, scale=3**-0.5)
READ = {
    "plain:3": kc.MLP("tanh", 4, sigma_w=1.5, beta=0.2).layers,
    " residual:3 ": (D, R, R, R, D),
    "prelayernorm:1": (D, Residual(LayerNorm(), "tanh", D), LayerNorm(), D),
    "dense; activation; dense": (D, "tanh", D),
    "dense(beta=0); x*erf(x); dense(sigma_w=1e-1)": (Dense(1.5, 0), "x*erf(x)", Dense(0.1, 0.2)),
    "dense; smooth_relu(scale=0.5); dense; normalized tanh; dense": (
        *(D, kc.activation("smooth_relu", scale=0.5), D, kc.activation("tanh").normalized(), D),
    ),
    "conv(3, padding=zeros, stride=2); averagepool(2, stride=1); tanh; conv(2, beta=1); flatten; dense": (
        *(Conv(3, 1.5, 0.2, "zeros", 2), AveragePool(2, 1), "tanh", Conv(2, 1.5, 1), Flatten(), D),
    ),
    "conv(3, padding='valid'); globalaverage; dense": (Conv(3, 1.5, 0.2, "valid"), GlobalAverage(), D),
}


@pytest.mark.parametrize("text", READ)
def test_texts_that_are_networks(text):
    net = network_from_text(text, "tanh", sigma_w=1.5, beta=0.2, n_out=2)
    assert net == kc.Sequential(*READ[text], n_out=2)


def test_branches_within_branches():
    text = "dense; residual(layernorm, residual(sin(x), dense), tanh, dense, scale=0.25); dense"
    inner = Residual(LayerNorm(), Residual("sin(x)", D), "tanh", D, scale=0.25)
    assert network_from_text(text, "tanh", sigma_w=1.5, beta=0.2) == kc.Sequential(D, inner, D)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first layer is Dense"),
        ("residul:3", "did you mean 'residual'"),
        ("residual:0", "number of blocks"),
        ("residual:99999", "number of blocks"),
        ("residual:-1", "number of blocks"),
        ("dense; tanh;; dense", "both sides"),
        ("dense; residual(tanh, dense; dense", "brackets"),
        ("dense); dense", "brackets"),
        ("dense; tanh; dense(sigma=2)", "did you mean 'sigma_w'"),
        ("dense; tanh; dense(beta=__import__('os'))", "a number beta"),
        ("dense; __import__('os').getcwd(); dense", "expected"),
        ("dense; tanh; dense(64)", "a layer such as dense"),
        ("conv; flatten; dense", "a layer such as conv"),
        ("conv(3.5); flatten; dense", "whole number"),
        ("dense; residual(tanh); dense", "fresh weights"),
        ("dense; layernorm(2); dense", "a layer such as layernorm"),
        ("dense; " + "residual(" * 50 + "tanh, dense" + ")" * 50 + "; dense", "within each other"),
        ("dense; tanh; tanh; dense", "Gaussian"),
    ],
)
def test_texts_that_are_none(text, message):
    with pytest.raises(InputError, match=message):
        network_from_text(text, "tanh")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("residual:0", "a number of blocks from 1 to 10000, got '0'; for example residual:10"),
        ("plain:10001", "a number of blocks from 1 to 10000, got '10001'; for example residual:10"),
        ("plain:٣", "a number of blocks from 1 to 10000, got '٣'; for example residual:10"),
        ("residul:3", "the name of a stack of blocks, got 'residul'; did you mean 'residual'?"),
        ("dense(3); dense", "a layer such as dense(sigma_w=1.5, beta=0.1), got it with 3"),
        ("conv; flatten; dense", "a layer such as conv(3, padding=zeros), got it with nothing"),
        ("conv(3, 4); flatten; dense", "a layer such as conv(3, padding=zeros), got it with 3, 4"),
        ("conv(3.5); flatten; dense", "a whole number of positions, got '3.5'"),
        ("conv(3, stride=-1); flatten; dense", "a whole number of positions, got '-1'"),
        ("conv(3); averagepool; flatten; dense", "a layer such as averagepool(2), got it with nothing"),
        ("conv(3); averagepool(1, 2); flatten; dense", "a layer such as averagepool(2), got it with 1, 2"),
        ("conv(3); averagepool(2, beta=1); flatten", "the name of a parameter of this layer, got 'beta'; known: none"),
        ("dense; layernorm(2); dense", "a layer such as layernorm, got it with 2"),
        ("conv(3); flatten(a=2); dense", "a layer such as flatten, got it with a"),
        ("dense(beta=a); dense", "a number beta, got 'a'"),
        ("dense(bet=1); dense", "the name of a parameter of this layer, got 'bet'; did you mean 'beta'?"),
        ("dense;; dense", "a layer on both sides of every ';', got 'dense;; dense'"),
        ("dense; residual(tanh,, dense)", "a layer on both sides of every ',', got 'tanh,, dense'"),
        ("dense(; dense", "brackets that close, got 'dense(; dense'"),
        ("dense); dense(", "brackets that close, got 'dense); dense('"),
    ],
)
def test_whole_texts_of_refusals(text, message):
    with pytest.raises(InputError) as caught:
        network_from_text(text, "tanh")
    assert str(caught.value) == f"expected {message}"


def test_branches_within_each_other_are_so_many():
    def nested(count):
        return "dense; " + "residual(" * count + "tanh, dense" + ", dense)" * count + "; dense"

    assert isinstance(network_from_text(nested(20), "erf").layers[1], Residual)
    with pytest.raises(InputError) as caught:
        network_from_text(nested(21), "erf")
    assert str(caught.value) == "expected at most 20 branches within each other, got more"


def test_without_a_text_it_is_a_perceptron():
    expected = kc.MLP("erf", 4, sigma_w=1.5, beta=0.2, n_out=3)
    assert network_from_text(None, "erf", depth=4, sigma_w=1.5, beta=0.2, n_out=3) == expected
    assert network_from_text(None, kc.activation("erf")) == kc.MLP("erf", 3)


def test_most_blocks():
    assert network_from_text("plain:10000", "tanh").depth == 10001


def test_an_unknown_stack_is_an_unknown_name():
    with pytest.raises(UnknownNameError):
        network_from_text("dense:3", "tanh")


def test_kernels_on_the_command_line(tmp_path):
    data = tmp_path / "points.csv"
    data.write_text("1,0.5\n-0.3,2\n0.1,-1\n")
    done = CliRunner().invoke(
        main,
        [
            *("kernels", "--data", str(data), "--labels", "none", "-a", "erf", "--architecture", "residual:4"),
            *("--beta", "0.3", "--only", "xi", "-o", str(tmp_path / "k.npz")),
        ],
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.output
    block = Residual("erf", Dense(1, 0.3), scale=0.5)
    net = kc.Sequential(Dense(1, 0.3), *[block] * 4, Dense(1, 0.3))
    with np.load(tmp_path / "k.npz") as found:
        expected = net.kernels([[1, 0.5], [-0.3, 2], [0.1, -1]], only="xi").xi
        np.testing.assert_allclose(found["xi"], expected, rtol=1e-13)


@pytest.mark.parametrize("command", ["curves", "spectrum"])
def test_reports_on_the_command_line(tmp_path, command):
    data = tmp_path / "points.csv"
    data.write_text("1,0.5,1\n-0.3,2,0\n0.1,-1,1\n")
    args = [
        command,
        "--data",
        str(data),
        "--labels",
        "last",
        "--architecture",
        "dense; residual(layernorm, tanh, dense); dense",
    ]
    done = CliRunner().invoke(main, [*args, "-o", str(tmp_path / "out"), "--no-png"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / f"{command}.csv").is_file()
    assert "residual(layernorm, tanh, dense)" in done.output or "Residual(LayerNorm()" in done.output
