"""What may become of a property that traffic is to prove."""

PASS, FAIL, UNPROVED = "pass", "fail", "unproved"
