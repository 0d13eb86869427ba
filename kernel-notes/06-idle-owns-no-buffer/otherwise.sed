# Receives are tried as they are armed, with no buffer.
s/arm(pairs\[i\]\[0\], i, IORING_RECVSEND_POLL_FIRST)/arm(pairs[i][0], i, 0)/
