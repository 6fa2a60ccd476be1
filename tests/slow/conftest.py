"""Slow proofs, collected only when they are asked for: `make ovn`."""


def pytest_ignore_collect(config):
    """Stay out of `make test`."""
    asked = (str(word) for word in config.invocation_params.args)
    return None if any("tests/slow" in word for word in asked) else True
