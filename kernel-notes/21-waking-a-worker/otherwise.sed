# A read of the eventfd takes one count only (EFD_SEMAPHORE).
s/eventfd(0, EFD_CLOEXEC)/eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE)/
