# The first ring runs between the connection and the cancel.
s/^	res = cancelled(first);/	enter(first, 0, 0, IORING_ENTER_GETEVENTS);\n&/
