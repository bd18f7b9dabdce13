"""Every result is made once."""

import pytest

from tests.results.cases import MADE


@pytest.fixture(scope="session")
def made():
    found = {}

    def get(name):
        if name not in found:
            found[name] = MADE[name]()
        return found[name]

    return get
