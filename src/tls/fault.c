#include "fault.h"

#include <ctype.h>
#include <pthread.h>

#include "base/check.h"

const char *tls_fault_text(enum tls_fault fault)
{
	static const char *const texts[] = {
		"none",
#define TLS_FAULT(name, error, text) text,
#include "tls/fault.def"
#undef TLS_FAULT
	};

	ASSERT(fault < TLS_FAULTS);
	return texts[fault];
}

const char *tls_fault_error(enum tls_fault fault)
{
	static const char *const errors[] = {
		"",
#define TLS_FAULT(name, error, text) error,
#include "tls/fault.def"
#undef TLS_FAULT
	};

	ASSERT(fault < TLS_FAULTS);
	return errors[fault];
}

static char names[TLS_FAULTS][32];

static void names_make(void)
{
	static const char *const upper[] = {
		"none",
#define TLS_FAULT(name, error, text) #name,
#include "tls/fault.def"
#undef TLS_FAULT
	};

	for (unsigned i = 0; i < TLS_FAULTS; i++)
		for (unsigned k = 0; upper[i][k] && k < sizeof(names[0]) - 1; k++)
			names[i][k] = (char)tolower(upper[i][k]);
}

const char *tls_fault_name(enum tls_fault fault)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	ASSERT(fault < TLS_FAULTS);
	pthread_once(&once, names_make);
	return names[fault];
}

enum alert fault_alert(enum tls_fault fault)
{
	switch (fault) {
	case TLS_FAULT_HELLO:
	case TLS_FAULT_HELLO_LARGE:
		return ALERT_DECODE_ERROR;
	case TLS_FAULT_VERSION:
		return ALERT_PROTOCOL_VERSION;
	case TLS_FAULT_SUITE:
	case TLS_FAULT_GROUP:
	case TLS_FAULT_SIGNATURE:
		return ALERT_HANDSHAKE_FAILURE;
	case TLS_FAULT_PROTOCOL:
		return ALERT_NO_APPLICATION_PROTOCOL;
	case TLS_FAULT_NAME:
		return ALERT_UNRECOGNIZED_NAME;
	case TLS_FAULT_CERTIFICATE_MISSING:
		return ALERT_CERTIFICATE_REQUIRED;
	case TLS_FAULT_CERTIFICATE_UNTRUSTED:
		return ALERT_UNKNOWN_CA;
	case TLS_FAULT_CERTIFICATE_EXPIRED:
		return ALERT_CERTIFICATE_EXPIRED;
	case TLS_FAULT_CERTIFICATE_REVOKED:
		return ALERT_CERTIFICATE_REVOKED;
	case TLS_FAULT_CERTIFICATE_NAME:
	case TLS_FAULT_CERTIFICATE_PIN:
	case TLS_FAULT_CERTIFICATE:
		return ALERT_BAD_CERTIFICATE;
	case TLS_FAULT_RECORD_AUTHENTICATION:
		return ALERT_BAD_RECORD_MAC;
	case TLS_FAULT_RECORD_LARGE:
		return ALERT_RECORD_OVERFLOW;
	case TLS_FAULT_MESSAGE:
	case TLS_FAULT_KEY_UPDATES:
	case TLS_FAULT_EMPTY_RECORDS:
		return ALERT_UNEXPECTED_MESSAGE;
	case TLS_FAULT_RENEGOTIATION:
		return ALERT_NO_RENEGOTIATION;
	case TLS_FAULT_NO_MEMORY:
	case TLS_FAULT_LIBRARY:
		return ALERT_INTERNAL_ERROR;
	case TLS_FAULT_NONE:
	case TLS_FAULT_NOT_TLS:
	case TLS_FAULT_PLAIN_HTTP:
	case TLS_FAULT_ALERT:
	case TLS_FAULT_CLOSED:
	case TLS_FAULT_TRUNCATED:
	case TLS_FAULT_TIMEOUT:
	case TLS_FAULTS:
		return ALERT_NONE;
	}
	return ALERT_NONE;
}
