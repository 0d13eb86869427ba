# The filter returns another error.
s/SECCOMP_RET_ERRNO | error/SECCOMP_RET_ERRNO | EIO/
