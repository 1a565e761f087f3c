"""What the tests of the agent share."""

import signal

import pytest


@pytest.fixture(scope="session", autouse=True)
def hangups():
    """Are heard here, also where the tests themselves run under `nohup`."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
