// Package verify judges SEV-SNP evidence: the report's signature, its certificate chain up to a pinned root, revocation, and each field that a relying party has
// an expectation about. The answer is a verdict with one row for every check there is: what was wanted, what was found, a stable code (Codes lists them), and
// pass, fail, not asked or not judged.
//
// Trusted is what the caller brings: the roots (AMD's, built in from roots/, or others given in their place; the software processor's are never among the
// built-in ones), the expectations, and the time. Nothing of the evidence is: report, certificate table, certificates and revocation lists come from the host, are
// bounded before they are parsed, and certificates found there only ever link a pinned root to the report's key. A root counts for its own product line.
//
// Fails closed: rows begin unjudged and a verdict with an unjudged row is a refusal; a field of zeros is compared like any other; what was not asked says so;
// evidence that carries a certificate which leads to no pinned root, a revocation list that is not right, or a preimage that does not hash to REPORT_DATA is
// refused even where nobody asked for those. Signature, signer, chain, validity, chip id, TCB, privilege level, debugging, migration, and reserved bytes and bits
// are always checked. There is no network here.
//
// Limits: that a revocation list was withheld is noticed only by whoever wants one (CRLRequired). A VLEK is for no chip, so its reports are tied to a cloud
// provider and a TCB only.
//
// The verifier is our own, P-384 and X.509 checks of the standard library, because it has to know Turin, Siena and VLEKs and must not fall over a hostile certificate
// table. Tests hold go-sev-guest's against it, and keep the list of differences.
//
// A Verifier remembers chains, revocation lists and endorsements whose signatures it checked, chains by a hash over all certificates. Times, revocation and everything that the
// report says are judged each time.
package verify
