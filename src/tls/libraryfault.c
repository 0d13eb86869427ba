#include "libraryfault.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "base/check.h"
#include "object.h"

static const struct {
	int reason;
	enum tls_fault fault;
} faults[] = {
	{ SSL_R_HTTP_REQUEST, TLS_FAULT_PLAIN_HTTP },
	{ SSL_R_HTTPS_PROXY_REQUEST, TLS_FAULT_PLAIN_HTTP },
	{ SSL_R_WRONG_VERSION_NUMBER, TLS_FAULT_NOT_TLS },
	{ SSL_R_BAD_RECORD_TYPE, TLS_FAULT_NOT_TLS },
	{ SSL_R_UNSUPPORTED_PROTOCOL, TLS_FAULT_VERSION },
	{ SSL_R_UNSUPPORTED_SSL_VERSION, TLS_FAULT_VERSION },
	{ SSL_R_VERSION_TOO_LOW, TLS_FAULT_VERSION },
	{ SSL_R_VERSION_TOO_HIGH, TLS_FAULT_VERSION },
	{ SSL_R_WRONG_SSL_VERSION, TLS_FAULT_VERSION },
	{ SSL_R_UNKNOWN_PROTOCOL, TLS_FAULT_VERSION },
	{ SSL_R_NO_PROTOCOLS_AVAILABLE, TLS_FAULT_VERSION },
	{ SSL_R_NO_SHARED_CIPHER, TLS_FAULT_SUITE },
	{ SSL_R_NO_CIPHERS_AVAILABLE, TLS_FAULT_SUITE },
	{ SSL_R_WRONG_CIPHER_RETURNED, TLS_FAULT_SUITE },
	{ SSL_R_UNKNOWN_CIPHER_RETURNED, TLS_FAULT_SUITE },
	{ SSL_R_NO_SUITABLE_KEY_SHARE, TLS_FAULT_GROUP },
	{ SSL_R_NO_SUITABLE_GROUPS, TLS_FAULT_GROUP },
	{ SSL_R_NO_SHARED_GROUPS, TLS_FAULT_GROUP },
	{ SSL_R_WRONG_CURVE, TLS_FAULT_GROUP },
	{ SSL_R_BAD_KEY_SHARE, TLS_FAULT_GROUP },
	{ SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, TLS_FAULT_SIGNATURE },
	{ SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS, TLS_FAULT_SIGNATURE },
	{ SSL_R_WRONG_SIGNATURE_TYPE, TLS_FAULT_SIGNATURE },
	{ SSL_R_NO_APPLICATION_PROTOCOL, TLS_FAULT_PROTOCOL },
	{ SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, TLS_FAULT_CERTIFICATE_MISSING },
	{ SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, TLS_FAULT_RECORD_AUTHENTICATION },
	{ SSL_R_PACKET_LENGTH_TOO_LONG, TLS_FAULT_RECORD_LARGE },
	{ SSL_R_ENCRYPTED_LENGTH_TOO_LONG, TLS_FAULT_RECORD_LARGE },
	{ SSL_R_DATA_LENGTH_TOO_LONG, TLS_FAULT_RECORD_LARGE },
	{ SSL_R_UNEXPECTED_MESSAGE, TLS_FAULT_MESSAGE },
	{ SSL_R_UNEXPECTED_RECORD, TLS_FAULT_MESSAGE },
	{ SSL_R_NOT_ON_RECORD_BOUNDARY, TLS_FAULT_MESSAGE },
	{ SSL_R_NO_RENEGOTIATION, TLS_FAULT_RENEGOTIATION },
	{ SSL_R_TOO_MANY_KEY_UPDATES, TLS_FAULT_KEY_UPDATES },
	{ SSL_R_RECORD_TOO_SMALL, TLS_FAULT_EMPTY_RECORDS },
	{ SSL_R_UNEXPECTED_EOF_WHILE_READING, TLS_FAULT_TRUNCATED },
};

static enum tls_fault fault_of_reason(int reason)
{
	for (unsigned i = 0; i < COUNT(faults); i++)
		if (faults[i].reason == reason)
			return faults[i].fault;
	return TLS_FAULT_LIBRARY;
}

void library_fault(const SSL *ssl, struct library_fault *f)
{
	unsigned long error = ERR_peek_error();
	int reason = ERR_GET_REASON(error);
	long verified = SSL_get_verify_result(ssl);

	*f = (struct library_fault){ .fault = TLS_FAULT_LIBRARY };
	if (error == 0) {
		if (SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN) /* close_notify */
			f->fault = TLS_FAULT_CLOSED;
		return;
	}
	f->reason = ERR_reason_error_string(error);
	if (reason == ERR_R_MALLOC_FAILURE) {
		f->fault = TLS_FAULT_NO_MEMORY;
	} else if (ERR_GET_LIB(error) != ERR_LIB_SSL) {
		f->fault = TLS_FAULT_LIBRARY;
	} else if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
		f->fault = tls_object_verify_fault(verified);
		f->reason = X509_verify_cert_error_string(verified);
	} else if (reason >= SSL_AD_REASON_OFFSET &&
		   reason < SSL_AD_REASON_OFFSET + 256) {
		f->fault = TLS_FAULT_ALERT;
		f->alert = (uint8_t)(reason - SSL_AD_REASON_OFFSET);
	} else {
		f->fault = fault_of_reason(reason);
	}
	ERR_clear_error();
}
