# All is forced async.
s/\tsqe->user_data = id;/&\n\tsqe->flags = IOSQE_ASYNC;/
