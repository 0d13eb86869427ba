# The ring waits for one completion at a time.
s/enter((unsigned)n, 5000, IORING_ENTER_GETEVENTS);/enter(1, 5000, IORING_ENTER_GETEVENTS), enter(0, 0, 0);/
