"""Offloads: what a flag means, and what the running kernel says of loopback."""

import errno
import socket

import pytest

from onearm.kernel import offloads


@pytest.mark.parametrize(
    ("value", "names"),
    [(0, ()), (1 << 15, ("lro",)), (0x180, ()), (0x8180, ("lro",)), (0xFFFFFFFF, ("lro",))],
)
def test_the_flag_of_large_receive_offload(value, names):
    assert offloads.flags_on(value) == names


def test_links_that_know_no_such_flag_are_left_out(monkeypatch):
    codes = {"tun0": errno.EOPNOTSUPP, "gone": errno.ENODEV}
    values = {"eth0": 0x180, "eth1": 0x8180}

    def flags(link):
        if link in codes:
            raise OSError(codes[link], "x")
        return values[link]

    monkeypatch.setattr(offloads, "flags", flags)
    assert offloads.offloads([*codes, *values]) == {"eth1": ("lro",)}
    codes["tun0"] = errno.EPERM
    with pytest.raises(PermissionError):
        offloads.offloads(codes)


@pytest.mark.enable_socket
def test_the_running_kernel_answers():
    assert offloads.flags("lo") & 1 << 15 == 0
    with pytest.raises(OSError, match=r".") as caught:
        offloads.flags("nowhere")
    assert caught.value.errno == errno.ENODEV
    names = [name for _, name in socket.if_nameindex()]
    assert "lo" not in offloads.offloads(names)
