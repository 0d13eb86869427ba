# Accepts return ordinary descriptors.
s/sqe->file_index = ANY_SLOT;/sqe->file_index = 0;/
