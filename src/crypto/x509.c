/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/x509.h"

#include "crypto/internal.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string.h>

/* A file may claim to be encrypted: without this, OpenSSL would ask the terminal. */
static int
no_passphrase(char *out, int size, int writing, void *arg)
{
    return -1;
}

static BIO *
reader(struct bytes pem)
{
    return pem.len > 0 && pem.len < 65536 ? BIO_new_mem_buf(pem.ptr, (int)pem.len) : NULL;
}

static X509 *
read_certificate(struct bytes pem)
{
    BIO *bio = reader(pem);
    X509 *certificate = bio != NULL ? PEM_read_bio_X509(bio, NULL, no_passphrase, NULL) : NULL;

    BIO_free(bio);
    return certificate;
}

static EVP_PKEY *
read_key(struct bytes pem)
{
    BIO *bio = reader(pem);
    EVP_PKEY *key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;

    BIO_free(bio);
    return key;
}

static int
unreadable(struct coffer_error *err, const char *what)
{
    return openssl_lacked_memory() ? error_nomem(err)
                                   : error_set(err, COFFER_E_FORMAT, "no %s in PEM form", what);
}

/* BIO_free() overwrites what a memory BIO held. */
static int
write_key(EVP_PKEY *key, struct secret **out, struct coffer_error *err)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long len;
    int rc;

    if (bio == NULL || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1 ||
        (len = BIO_get_mem_data(bio, &text)) <= 0)
        rc = error_nomem(err);
    else
        rc = secret_copy(bytes_of(text, (size_t)len), out, err);
    BIO_free(bio);
    return rc;
}

static int
write_certificate(X509 *certificate, struct buf *out, struct coffer_error *err)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long len;
    int rc = COFFER_OK;

    if (bio == NULL || PEM_write_bio_X509(bio, certificate) != 1 ||
        (len = BIO_get_mem_data(bio, &text)) <= 0)
        rc = error_nomem(err);
    else
        buf_add(out, text, (size_t)len);
    BIO_free(bio);
    return rc != COFFER_OK ? rc : buf_status(out, err);
}

static bool
add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509_EXTENSION *extension;
    bool ok;

    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    ok = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return ok;
}

/* 127 random bits: serial numbers are positive and at most 20 bytes long (RFC 5280, 4.1.2.2), and
 * two certificates of one authority never have the same. */
static bool
set_serial(X509 *certificate)
{
    uint8_t serial[16];
    BIGNUM *number;
    bool ok;

    if (random_nonce(serial, sizeof serial, NULL) != COFFER_OK)
        return false;
    serial[0] &= 0x7f;
    number = BN_bin2bn(serial, sizeof serial, NULL);
    ok = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
    BN_free(number);
    return ok;
}

static X509 *
begin(EVP_PKEY *key, const char *common_name, int64_t from, int64_t until)
{
    X509 *certificate = X509_new();
    X509_NAME *name;

    if (certificate == NULL)
        return NULL;
    name = X509_get_subject_name(certificate);
    if (X509_set_version(certificate, X509_VERSION_3) == 1 && set_serial(certificate) &&
        ASN1_TIME_set(X509_getm_notBefore(certificate), (time_t)from) != NULL &&
        ASN1_TIME_set(X509_getm_notAfter(certificate), (time_t)until) != NULL &&
        X509_set_pubkey(certificate, key) == 1 &&
        X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const uint8_t *)"Coffer", -1, -1,
                                   0) == 1 &&
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)common_name, -1, -1,
                                   0) == 1)
        return certificate;
    X509_free(certificate);
    return NULL;
}

int
x509_authority(const char *common_name, int64_t from, int64_t until, struct secret **key,
               struct buf *certificate, struct coffer_error *err)
{
    EVP_PKEY *pair = EVP_EC_gen("P-256");
    X509 *own = pair != NULL ? begin(pair, common_name, from, until) : NULL;
    int rc;

    *key = NULL;
    if (own == NULL || X509_set_issuer_name(own, X509_get_subject_name(own)) != 1 ||
        !add_extension(own, own, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
        !add_extension(own, own, NID_key_usage, "critical,keyCertSign,cRLSign") ||
        !add_extension(own, own, NID_subject_key_identifier, "hash") ||
        X509_sign(own, pair, EVP_sha256()) == 0)
        rc = error_nomem(err);
    else
        rc = write_certificate(own, certificate, err);
    if (rc == COFFER_OK)
        rc = write_key(pair, key, err);
    X509_free(own);
    EVP_PKEY_free(pair);
    return rc;
}

static bool
is_address(const char *name)
{
    uint8_t address[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
}

/* The text form of OpenSSL's extensions has commas and colons of its own: a name must have none. */
static int
alternative_names(const char *const *names, struct buf *out, struct coffer_error *err)
{
    size_t i;

    for (i = 0; names[i] != NULL; i++) {
        bool address = is_address(names[i]);

        if (i >= X509_NAMES_MAX ||
            (!address &&
             (names[i][0] == '\0' ||
              names[i][strspn(names[i], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                        "0123456789-._")] != '\0')))
            return error_set(err, COFFER_E_MISUSE, "\"%.80s\" is no name of a server", names[i]);
        buf_format(out, "%s%s:%s", i > 0 ? "," : "", address ? "IP" : "DNS", names[i]);
    }
    return buf_status(out, err);
}

int
x509_server(struct bytes authority_key, struct bytes authority_certificate,
            const char *const *names, int64_t from, int64_t until, struct secret **key,
            struct buf *certificate, struct coffer_error *err)
{
    EVP_PKEY *signer = NULL, *pair = NULL;
    X509 *issuer = NULL, *own = NULL;
    struct buf list;
    int rc;

    *key = NULL;
    buf_init(&list, 4096);
    rc = alternative_names(names, &list, err);
    if (rc != COFFER_OK)
        goto out;
    issuer = read_certificate(authority_certificate);
    signer = read_key(authority_key);
    if (issuer == NULL || signer == NULL || X509_check_private_key(issuer, signer) != 1) {
        rc = unreadable(err, "authority's certificate with its key");
        goto out;
    }
    pair = EVP_EC_gen("P-256");
    own = pair != NULL ? begin(pair, names[0], from, until) : NULL;
    if (own == NULL || X509_set_issuer_name(own, X509_get_subject_name(issuer)) != 1 ||
        !add_extension(own, issuer, NID_basic_constraints, "critical,CA:FALSE") ||
        !add_extension(own, issuer, NID_key_usage, "critical,digitalSignature") ||
        !add_extension(own, issuer, NID_ext_key_usage, "serverAuth") ||
        !add_extension(own, issuer, NID_subject_alt_name, buf_cstr(&list)) ||
        !add_extension(own, issuer, NID_subject_key_identifier, "hash") ||
        !add_extension(own, issuer, NID_authority_key_identifier, "keyid:always") ||
        X509_sign(own, signer, EVP_sha256()) == 0)
        rc = error_nomem(err);
    else
        rc = write_certificate(own, certificate, err);
    if (rc == COFFER_OK)
        rc = write_key(pair, key, err);

out:
    X509_free(own);
    X509_free(issuer);
    EVP_PKEY_free(pair);
    EVP_PKEY_free(signer);
    buf_wipe(&list);
    return rc;
}

int
x509_until(struct bytes pem, int64_t *until, struct coffer_error *err)
{
    X509 *certificate = read_certificate(pem);
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int days = 0, seconds = 0;
    int rc = COFFER_OK;

    *until = 0;
    if (certificate == NULL || epoch == NULL ||
        ASN1_TIME_diff(&days, &seconds, epoch, X509_get0_notAfter(certificate)) != 1)
        rc = unreadable(err, "certificate");
    else
        *until = (int64_t)days * 86400 + seconds;
    ASN1_TIME_free(epoch);
    X509_free(certificate);
    return rc;
}

int
x509_server_check(struct bytes pem, struct bytes authority_certificate, const char *const *names,
                  struct coffer_error *err)
{
    X509 *own = read_certificate(pem), *issuer = read_certificate(authority_certificate);
    EVP_PKEY *key = read_key(pem), *signer = issuer != NULL ? X509_get_pubkey(issuer) : NULL;
    size_t i;
    int rc = COFFER_OK;

    if (own == NULL || key == NULL || signer == NULL)
        rc = unreadable(err, "certificate with its key");
    else if (X509_check_private_key(own, key) != 1)
        rc = error_set(err, COFFER_E_AUTH, "the key is not the certificate's");
    else if (X509_verify(own, signer) != 1)
        rc = error_set(err, COFFER_E_AUTH, "another authority signed the certificate");
    for (i = 0; rc == COFFER_OK && names[i] != NULL; i++) {
        int holds = is_address(names[i]) ? X509_check_ip_asc(own, names[i], 0)
                                         : X509_check_host(own, names[i], 0, 0, NULL);

        if (holds != 1)
            rc = error_set(err, COFFER_E_AUTH, "the certificate is not for %.80s", names[i]);
    }
    ERR_clear_error();
    EVP_PKEY_free(signer);
    EVP_PKEY_free(key);
    X509_free(issuer);
    X509_free(own);
    return rc;
}
