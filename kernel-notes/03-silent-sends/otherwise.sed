# Silent sends have no MSG_WAITALL.
s/MSG_DONTWAIT | MSG_WAITALL)->flags/MSG_DONTWAIT)->flags/
