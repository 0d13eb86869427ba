# The receive has no cap.
s/^\tsqe->file_index = cap;/\t(void)cap;/
