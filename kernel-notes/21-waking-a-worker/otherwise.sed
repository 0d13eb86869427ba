# The eventfd gives one at a time.
s/eventfd(0, EFD_CLOEXEC)/eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE)/
