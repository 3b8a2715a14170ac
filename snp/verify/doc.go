// Package verify judges an attestation report: signature, certificate chain, and the fields a relying party has expectations about. It
// answers with a verdict of one row per check, each with what was found and what was wanted.
//
// Nothing of the evidence is trusted: report and certificates come from the host. What is trusted is what the caller brings: the root
// certificates (there are no built-in ones, and the software processor's are no exception) and the expectations. Certificates found in the
// evidence only ever link the pinned root to the report's key.
//
// Fails closed: an expectation left empty is an error and never a check not made; a row is right only if its check ran and passed; the verdict is good
// only if every row is. Everything works offline. Revocation lists are not consulted.
//
// The verifier is our own, P-384 and X.509 checks of the standard library, because it has to know Turin, Siena and VLEKs and must not fall over a hostile
// certificate table; tests hold go-sev-guest's against it.
package verify
