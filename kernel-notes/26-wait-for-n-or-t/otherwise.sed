# Each wait is for one completion.
s/\*ring.sq.ktail - taken, n,/*ring.sq.ktail - taken, n ? 1 : 0,/
