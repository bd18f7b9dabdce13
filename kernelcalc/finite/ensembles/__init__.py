"""Many finite networks: trials over processes and their files, batches in one pass, kernels and moments of ensembles.

May import everything else in ``kernelcalc.finite``; nothing there imports it.
"""
