# Nobody fetches what did not fit.
/^static bool next/,/^}/s/enter(0, 0, IORING_ENTER_GETEVENTS);/;/
