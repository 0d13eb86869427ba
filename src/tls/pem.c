#include "pem.h"

#include <limits.h>
#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#include "base/check.h"

BIO *pem_open(struct slice text)
{
	return text.len <= INT_MAX
		       ? BIO_new_mem_buf(text.ptr ? text.ptr : "", (int)text.len)
		       : NULL;
}

static enum pem_kind kind_of(const char *label, const char *header)
{
	static const struct {
		const char *label;
		enum pem_kind kind;
	} labels[] = {
		{ PEM_STRING_X509, PEM_CERTIFICATE },
		{ PEM_STRING_X509_OLD, PEM_CERTIFICATE },
		{ PEM_STRING_X509_CRL, PEM_CRL },
		{ PEM_STRING_PKCS8INF, PEM_KEY },
		{ PEM_STRING_ECPRIVATEKEY, PEM_KEY },
		{ PEM_STRING_RSA, PEM_KEY },
		{ PEM_STRING_PKCS8, PEM_KEY_ENCRYPTED },
	};

	for (size_t i = 0; i < COUNT(labels); i++) {
		if (strcmp(label, labels[i].label) != 0)
			continue;
		/* The old way to encrypt (RFC 1421 4.6.1.1). */
		if (labels[i].kind == PEM_KEY && strstr(header, "ENCRYPTED"))
			return PEM_KEY_ENCRYPTED;
		return labels[i].kind;
	}
	return PEM_OTHER;
}

struct pem_block pem_next(BIO *text)
{
	struct pem_block b = { .kind = PEM_BROKEN };
	char *header = NULL;

	ERR_clear_error();
	if (PEM_read_bio(text, &b.label, &header, &b.der, &b.len) == 1) {
		b.kind = kind_of(b.label, header);
		OPENSSL_free(header);
	} else if (ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE) {
		ERR_clear_error();
		b.kind = PEM_END;
	}
	return b;
}

void pem_free(struct pem_block *b)
{
	OPENSSL_free(b->label);
	OPENSSL_clear_free(b->der, (size_t)b->len);
	*b = (struct pem_block){ .kind = PEM_END };
}

/* The name of the decoder for a key in PKCS #8; NULL: all must be tried. */
static const char *key_type(const unsigned char *der, long len)
{
	PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &der, len);
	const ASN1_OBJECT *algorithm = NULL;
	const char *type = NULL;

	if (info && PKCS8_pkey_get0(&algorithm, NULL, NULL, NULL, info) == 1) {
		switch (OBJ_obj2nid(algorithm)) {
		case NID_X9_62_id_ecPublicKey:
			type = "EC";
			break;
		case NID_rsaEncryption:
			type = "RSA";
			break;
		}
	}
	PKCS8_PRIV_KEY_INFO_free(info);
	return type;
}

EVP_PKEY *pem_key(const struct pem_block *b)
{
	const unsigned char *der = b->der;
	size_t len = (size_t)b->len;
	EVP_PKEY *key = NULL;
	OSSL_DECODER_CTX *decoder;
	const char *type = key_type(b->der, b->len);

	if (strcmp(b->label, PEM_STRING_ECPRIVATEKEY) == 0)
		return d2i_PrivateKey(EVP_PKEY_EC, NULL, &der, b->len);
	if (strcmp(b->label, PEM_STRING_RSA) == 0)
		return d2i_PrivateKey(EVP_PKEY_RSA, NULL, &der, b->len);
	decoder = OSSL_DECODER_CTX_new_for_pkey(&key, "DER", "PrivateKeyInfo", type,
						EVP_PKEY_KEYPAIR, NULL, NULL);
	if (decoder && OSSL_DECODER_from_data(decoder, &der, &len) != 1) {
		EVP_PKEY_free(key);
		key = NULL;
	}
	OSSL_DECODER_CTX_free(decoder);
	return key;
}
