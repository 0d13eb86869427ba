#!/usr/bin/env python3
"""The cases of attack.py through TLS: each must end exactly as in plain text. The end of a
connection counts as an orderly one only with close_notify; without it, it is the break that the
client must be able to see."""
# asan
import rig
import tlsrig
from attack_cases import case

case.SCHEME, case.DEFAULT_PORT = b"https", b"443"
import attack    # noqa: E402, its cases have the scheme in them

MADE = tlsrig.Pki()


class Proxy(rig.Fairlead):
    """The proxy of attack.py with a TLS listener."""

    def __init__(self, config, **options):
        super().__init__(config, tls=MADE.tls(), **options)


class Socket(tlsrig.Socket):
    """Ends with close_notify, or with a reset if the case has asked for one."""
    abrupt = False

    def setsockopt(self, *option):
        self.abrupt |= option[1] == attack.socket.SO_LINGER
        super().setsockopt(*option)

    def close(self):
        if self.abrupt:
            self.sock.close()
        else:
            super().close()


def connect(port):
    return Socket(port, CONTEXT)


CONTEXT = tlsrig.context(MADE)
attack.connect, attack.start = connect, Proxy
rig.main(attack.test)
