# Each read asks for less than there is.
s/reads(pair\[0\], sizeof(part), 100) \&\&$/reads(pair[0], 50, 50) \&\&/
