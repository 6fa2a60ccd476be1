"""Addresses with a kept hash are the standard library's in every way that can be seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onearm.addresses import parsed, shared, unpacked


@given(st.ip_addresses())
def test_they_are_equal_and_found_in_each_others_place(address):
    ours = shared(address)
    assert ours == address
    assert hash(ours) == hash(address)
    assert {address: 1}[ours] == {ours: 1}[address] == 1
    assert (str(ours), repr(ours), ours.packed) == (str(address), repr(address), address.packed)
    assert isinstance(ours, type(address))


@given(st.ip_addresses())
def test_one_address_is_one_value(address):
    assert parsed(str(address)) is unpacked(address.packed) is shared(address)


def test_what_is_no_address_is_refused_and_a_scope_is_kept():
    with pytest.raises(ValueError, match="does not appear to be"):
        parsed("203.0.113.256")
    assert str(parsed("fe80::1%eth0")) == "fe80::1%eth0"
