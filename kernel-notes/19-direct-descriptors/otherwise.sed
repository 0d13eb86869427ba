# Accepts go to numbers.
s/sqe->file_index = ANY_SLOT;/sqe->file_index = 0;/
