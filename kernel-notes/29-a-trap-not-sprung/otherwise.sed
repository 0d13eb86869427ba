# The offset that the kernel reported is kept.
s/params\.sq_off\.array = 0;/;/
