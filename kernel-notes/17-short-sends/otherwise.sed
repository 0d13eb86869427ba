# No send has MSG_WAITALL.
s/, MSG_WAITALL);/, 0);/
s/= MSG_WAITALL |/= 0 |/
