# The kernel's offset is kept.
s/params\.sq_off\.array = 0;/;/
