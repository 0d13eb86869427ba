# Overflowed completions are not fetched.
/^static bool next_completion/,/^}/s/enter(0, 0, IORING_ENTER_GETEVENTS);/;/
