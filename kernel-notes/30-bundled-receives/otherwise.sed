# No bundles.
s/^\t\tsqe->ioprio |= IORING_RECVSEND_BUNDLE;/\t\t(void)bundle;/
