"""Theory beside ensembles of finite networks, number by number, extrapolated to infinite width.

``comparison`` and ``control_variates`` know only numbers; ``validate`` sees both the theory and ``finite``.
"""
