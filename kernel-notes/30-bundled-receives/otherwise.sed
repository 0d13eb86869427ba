# No receive has IORING_RECVSEND_BUNDLE.
s/^\t\tsqe->ioprio |= IORING_RECVSEND_BUNDLE;/\t\t(void)bundle;/
