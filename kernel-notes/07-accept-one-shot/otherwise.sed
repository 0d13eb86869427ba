# One multishot accept takes the place of four.
s/\t\tarm(listener, i, 0);/\t\tarm(listener, i, i ? 0 : IORING_ACCEPT_MULTISHOT);/
