"""From a network to its limiting kernels; imports ``gaussian`` and what lies below it.

``state`` is the table of kernels, ``layers`` has every formula, ``fold`` takes kernels through a composition of layers in any
number type: float64 (``gram``, few points in ``few_points``), many digits (``digits``), balls (``balls``), symbols
(``symbolic``). ``network`` describes, ``mlp`` is the front door, ``distributed`` computes in blocks through dask.
"""
