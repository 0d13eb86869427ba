# Receives are tried when they are armed, without a buffer.
s/arm(pairs\[i\]\[0\], i, IORING_RECVSEND_POLL_FIRST)/arm(pairs[i][0], i, 0)/
