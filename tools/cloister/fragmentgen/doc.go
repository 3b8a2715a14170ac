// Package fragmentgen makes policy fragments and tells what one is: the text from containers, the signed document (COSE_Sign1) from
// text, key and certificate chain, the entry by which a policy accepts it, and what of a document a person or a program wants to know
// before it is trusted (policy contract, section 2.6; services contract, section 2.7).
//
// # What is trusted
//
// The key, the chain and the text of whoever signs. A document that comes from a registry is a stranger's: Inspect reads it with the
// agent's own code (package enforcer/fragment), says whether its signature holds, and what it claims. Whether its issuer counts is for
// the policy, which a Policy asks as a guest would.
//
// # What fails closed
//
// Nothing is handed out that a guest would refuse. A text is read as the enforcer reads it: a container without a field that the
// framework looks for would vanish in silence, so it is an error, as are unknown fields, values of a wrong type and keys that are there
// twice. A signed document is opened again and loaded into an enforcer whose policy allows just this issuer and feed. A key that is not
// the leaf's, a chain that is not valid at the time given, a chain of one certificate, a reserved namespace, a header SVN that is not the
// text's: errors with what to do about them.
//
// # Determinism
//
// The same containers give the same text. The same text, chain and key give the same document with ECDSA (RFC 6979) and Ed25519;
// RSA-PSS signatures are salted at random.
package fragmentgen
