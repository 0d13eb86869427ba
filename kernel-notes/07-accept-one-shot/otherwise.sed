# One multishot accept replaces the four one-shot accepts.
s/\t\tarm(listener, i, 0);/\t\tarm(listener, i, i ? 0 : IORING_ACCEPT_MULTISHOT);/
