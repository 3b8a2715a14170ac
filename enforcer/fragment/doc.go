// Package fragment reads the signed documents that add to a policy: fragments, and what comes on the same way as they do.
//
// Every byte is the host's until the certificate chain and the signature hold, and the signer's after that. Anybody can make a chain
// that holds: what a Fragment says is who signed it, and whether that signer counts is for the policy. So the text stays a
// text here. Only its first line is looked at, because the policy is asked about the namespace in it, and the Rego behind it meets
// the engine after the policy has named the issuer.
//
// What fails closed: a document larger than MaxSize, a media type that is not known, a document that package cose refuses, an
// issuer that is no did:x509 of the document's own chain, a first line that is anything but a package clause, a namespace
// that is the agent's, brackets that nest too deep. A receipt that no trusted ledger vouches for is as good as absent.
package fragment
