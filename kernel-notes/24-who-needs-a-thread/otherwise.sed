# All operations have IOSQE_ASYNC.
s/\tsqe->user_data = id;/&\n\tsqe->flags = IOSQE_ASYNC;/
