# Silent sends go without MSG_WAITALL.
s/MSG_DONTWAIT | MSG_WAITALL)->flags/MSG_DONTWAIT)->flags/
