"""What the checks' tests share."""

import ssl

import pytest
from asking import certificates, open_files


@pytest.fixture(scope="session")
def ca(tmp_path_factory):
    """Give the folder of a CA and a server's certificate."""
    folder = tmp_path_factory.mktemp("ca")
    certificates(folder)
    return folder


@pytest.fixture(scope="session")
def server_tls(ca):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca / "server.pem", ca / "server.key")
    return context


@pytest.fixture(autouse=True)
def _no_descriptor_stays_open():
    """Look at this process's files: each test gives back what it took.

    What tests before it left as garbage is closed whenever that is collected, and other threads
    close what they had: that is no fault of the test that runs then.
    """
    before = open_files()
    yield
    assert open_files() - before == set()
