// Package identity is the preimage of identity evidence: what an agent says about the container that asked, in an encoding
// whose SHA-512 is REPORT_DATA. Whoever verifies the evidence gets the preimage beside the report and hashes it again.
//
// The encoding is deterministic CBOR (RFC 8949, section 4.2.1): one value has one encoding. Parse refuses everything else, so
// that two parties that compare bytes, hashes or fields always come to the same answer.
//
// Nothing parsed here is trusted before its hash was found in a verified report. Even then the member "claimed" is the host's
// word about the container, carried along for people and logs; only the others were checked by the agent. Bytes are bounded
// before anything is kept. Fails closed: an unknown, missing or repeated member, another label, another order, a number or
// length in a longer form than needed, a nonce, digest or text of a wrong size.
//
// REPORT_DATA of every other kind of evidence ends in at least 16 zero bytes; a SHA-512 that does would have to be searched for
// longer than anybody can. So no other path of the agent can produce identity evidence, whatever its caller asks.
package identity
