# All buffers are published.
s/round_ids(8, true)/round_ids(BUFS_MAX, true)/
