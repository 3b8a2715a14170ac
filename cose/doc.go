// Package cose opens the signed documents that reach the guest through the host: policy fragments, transparency trust lists and
// reference information. Each is a COSE_Sign1 message that carries its own certificate chain and names its signer with a did:x509
// identifier (policy contract, section 2.6; attestation contract, section 3.2). It also makes such documents, for signing tools.
//
// The package has no OS access, no network and no clock. What follows from a document depends on its bytes and the arguments alone.
//
// # What is trusted
//
// Nothing in a document is trusted for being signed: any self-made chain passes Verify. A document that Open returned is known to be
// signed by a key whose certificate resolves the issuer it names, and that is all. Whether that issuer may say anything is for the
// caller: it compares the issuer, the feed and the SVN with what the measured policy or the verifier's configuration names. Reference
// information, whose issuer nobody compares, needs Parse and Verify only, and is then no more than well-formed.
//
// A certificate is judged at its leaf's own NotAfter, as the contract says: documents outlive the certificates that signed them, and the
// guest has no clock it could believe. So an expired chain passes, a revoked one too; a signer is put out of use by raising the
// minimum SVN or by changing the issuer in the policy.
//
// # What the host controls
//
// Every byte that Parse, OpenTrustList and VerifyReceipts see, and which documents arrive at all, in which order and how often. The
// unprotected header is not covered by the signature; of it only the receipts are read, and these carry signatures of their own.
//
// # What fails closed
//
// All of it: an error means the document says nothing. In particular
//
//   - more than the stated bytes (checked before anything is decoded), indefinite lengths, nesting below 16 levels, repeated map keys at
//     any depth, text that is not UTF-8, bytes after the message;
//   - alg, x5chain, crit or CWT claims outside the protected header, a label in both headers, a crit entry that is not understood;
//   - a chain of one certificate. did:x509 pins an issuer, so there is nothing such a chain could resolve to; the text says so;
//   - a chain with any certificate that is not the issuer of the one before it. Path building that may skip certificates would let
//     anybody add a public CA's certificate to a chain of their own and take that CA's name. Each issuer must be a CA by its basic
//     constraints (version 1 certificates are not), may sign certificates if it has a key usage, and path length, name constraints
//     and validity at the leaf's NotAfter hold as in RFC 5280. Extended key usages are not judged here, the eku policy does that;
//   - RSA keys below 2048 or above 8192 bits, curves other than P-256, P-384, P-521 and Ed25519, signatures with SHA-1;
//   - algorithms other than ES256, ES384, ES512, PS256, PS384, PS512 and EdDSA, and one that does not fit the type of the leaf's key.
//     As RFC 9053 has it, an ECDSA algorithm names the hash and not the curve;
//   - a did:x509 with any policy that does not hold, or is not understood.
//
// A receipt that cannot be verified counts as absent and is reported; it does not spoil the document, since the host could remove it
// as well.
//
// # Where the method leaves room
//
// did:x509 (version 0) compares exactly, so do we: no case folding, no wildcard in names, no order among policies. A policy may appear
// more than once and each must hold; within one subject policy a key may appear once. A subject that repeats an attribute cannot be
// matched by a subject policy; other policies do not mind. An attribute that has a label (CN, L, ST, O, OU, C, STREET) is not known
// by its OID. A leaf with a key usage must have digitalSignature or keyAgreement.
//
// # Receipts
//
// Receipts are those of RFC 9942 (array of byte strings under label 394) with the profile of CCF ledgers (verifiable data structure 2):
// signed with ES256 or ES384 on the curve that belongs to it, key named by kid, ledger by the iss claim, root computed from one inclusion
// proof or more. The leaf commits to the SHA-256 of the message with its unprotected header emptied, all other bytes as they came.
//
// # Transparency trust lists
//
// A trust list (application/vnd.transparency-trust-list.v1+cose) is a document like the others; issuer, subject (the feed) and SVN are
// its claims, and all three are required. Neither the contract nor a public text gives the payload's form. Understood is one JSON object
// that maps each ledger's name, as receipts spell it in iss, to a JWK set:
//
//	{"ledger.example.org": {"keys": [{"kty": "EC", "kid": "b7…", "crv": "P-384", "x": "…", "y": "…"}]}}
//
// Names are compared exactly and may not repeat at any level; kty, kid, crv, x and y are required of an EC key, alg must agree with the
// curve where it is given; keys of another type are passed over, as RFC 7517 asks, and a ledger without a usable key is an error.
package cose
