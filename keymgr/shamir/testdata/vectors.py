#!/usr/bin/env python3
"""Writes vectors.json: shares computed with logarithm tables and big integers,
by nothing that the package has. Run it in this folder."""
import hashlib, json

EXP, LOG, x = [0] * 255, [0] * 256, 1
for i in range(255):  # powers of 3 generate GF(256)* modulo 0x11b
    EXP[i], LOG[x] = x, i
    x ^= x << 1
    if x & 0x100:
        x ^= 0x11B


def mul(a, b):
    return EXP[(LOG[a] + LOG[b]) % 255] if a and b else 0


def power(a, n):
    return EXP[LOG[a] * n % 255]


def stream(seed, n):
    out, i = b"", 0
    while len(out) < n:
        out += hashlib.sha256(seed + i.to_bytes(4, "big")).digest()
        i += 1
    return out[:n]


ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def times2(v):  # GF(32) modulo x^5+x^2+1
    v *= 2
    return v ^ 0x25 if v & 32 else v


def text(set_id, threshold, index, value):
    body = set_id + bytes([threshold, index]) + value
    body += hashlib.sha256(b"lockplate share 1" + body).digest()[:5]
    n = int.from_bytes(body, "big") << 6  # 344 bits, to 350
    symbols = [n >> 5 * (69 - i) & 31 for i in range(70)]
    out = []
    for g in range(14):
        data, check = symbols[5 * g : 5 * g + 5], g + 1
        for v in data + [0]:
            check = times2(check) ^ v
        out.append("".join(ALPHABET[v] for v in data + [check]))
    return "lockplate-share-1-" + "-".join(out)


vectors = []
for seed, threshold, shares in [(b"a", 2, 2), (b"b", 2, 3), (b"c", 3, 5), (b"d", 5, 5), (b"e", 4, 7), (b"f", 20, 255)]:
    secret = stream(seed + b"secret", 32)
    random = stream(seed, 4 + 32 * (threshold - 1))
    set_id, coefficients = random[:4], random[4:]
    texts = []
    for index in range(1, shares + 1):
        value = bytearray(secret)
        for p in range(1, threshold):
            for i in range(32):
                value[i] ^= mul(coefficients[32 * (p - 1) + i], power(index, p))
        texts.append(text(set_id, threshold, index, bytes(value)))
    if shares > 10:
        texts = texts[:1] + texts[-24:]
    vectors.append({"seed": seed.decode(), "secret": secret.hex(), "threshold": threshold, "shares": shares, "texts": texts})
with open("vectors.json", "w") as f:
    json.dump(vectors, f, indent=1)
    f.write("\n")
