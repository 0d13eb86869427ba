# The cap is left out.
s/^\tsqe->file_index = cap;/\t(void)cap;/
