#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Known answers of Tink's Streaming AEAD AES256_GCM_HKDF_1MB, made by Tink itself (pip install tink; made with 1.16.1).

Prints the cases of stream.txt.  A plaintext is LEN bytes 0, 1, …, 250, 0, 1, …; of a long ciphertext there is its SHA-256, since Tink's salt and nonce
prefix are random and stand in the header: whoever has them makes the same bytes."""
import hashlib
import io

import tink
from tink import secret_key_access, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2

KEY = bytes(range(32))
LENGTHS = [0, 1, 15, 1000, 1048519, 1048520, 1048521, 2097080, 2097081, 3000000]


class Kept(io.BytesIO):
    def close(self):
        self.kept = self.getvalue()
        super().close()


def primitive():
    key = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(version=0, key_value=KEY)
    key.params.ciphertext_segment_size = 1048576
    key.params.derived_key_size = 32
    key.params.hkdf_hash_type = common_pb2.SHA256
    keyset = tink_pb2.Keyset(primary_key_id=1)
    one = keyset.key.add(status=tink_pb2.ENABLED, key_id=1, output_prefix_type=tink_pb2.RAW)
    one.key_data.type_url = "type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey"
    one.key_data.value = key.SerializeToString()
    one.key_data.key_material_type = tink_pb2.KeyData.SYMMETRIC
    handle = tink.proto_keyset_format.parse(keyset.SerializeToString(), secret_key_access.TOKEN)
    return handle.primitive(streaming_aead.StreamingAead)


streaming_aead.register()
p = primitive()
print("# Tink Streaming AEAD AES256_GCM_HKDF_1MB, by Tink for Python 1.16.1 (make_stream_vectors.py beside this file).  The plaintext is `len` bytes")
print("# 0, 1, …, 250, 0, 1, …; `sha256` is that of the whole ciphertext, its header of 40 bytes included.")
for number, length in enumerate(LENGTHS):
    plain = bytes(i % 251 for i in range(length))
    ad = b"associated data" if number % 2 else b""
    out = Kept()
    with p.new_encrypting_stream(out, ad) as stream:
        stream.write(plain)
    sealed = out.kept
    print(f"\nkey = {KEY.hex()}\nad = {ad.hex()}".rstrip() + f"\nlen = {length}\nheader = {sealed[:40].hex()}\nsha256 = {hashlib.sha256(sealed).hexdigest()}")
