# Each read requests fewer bytes than are there.
s/read_returns(pair\[0\], sizeof(part), 100) \&\&$/read_returns(pair[0], 50, 50) \&\&/
