package fragmentgen

import (
	"crypto/x509"
	"fmt"
	"strings"

	"github.com/cloister-cc/cloister/cose"
)

// DefaultDIDPolicy is what the peers' tools pin: the common name of the leaf's subject.
const DefaultDIDPolicy = "subject"

// DID is the did:x509 of a chain, pinned to the SHA-256 fingerprint of its last certificate, with these policies, DefaultDIDPolicy if there are
// none. A policy is
//
//	subject                the leaf's common name
//	subject:CN,O           these attributes of the leaf's subject
//	eku, san, fulcio-issuer  what the leaf has: its longest usage OID, its first name, its OIDC issuer
//	NAME:VALUE             the value itself, percent-encoded as did:x509 has it
//
// Every policy must hold for the leaf.
func DID(chain []*x509.Certificate, policies ...string) (string, error) {
	if len(policies) == 0 {
		policies = []string{DefaultDIDPolicy}
	}
	var full []string
	for _, p := range policies {
		p, err := expand(chain, p)
		if err != nil {
			return "", err
		}
		full = append(full, p)
	}
	return cose.DIDFor(chain, full...)
}

// expand fills in a subject's attributes from the leaf.
func expand(chain []*x509.Certificate, policy string) (string, error) {
	name, value, _ := strings.Cut(policy, ":")
	if name != "subject" || strings.Contains(value, ":") {
		return policy, nil
	}
	if value == "" {
		value = "CN"
	}
	if len(chain) < 2 {
		return policy, nil // cose explains a chain that is too short
	}
	whole, err := cose.DIDFor(chain, "subject")
	if err != nil {
		return "", err
	}
	_, attributes, _ := strings.Cut(whole, "::subject:")
	have := strings.Split(attributes, ":")
	out := "subject"
	for key := range strings.SplitSeq(value, ",") {
		at := -1
		for i := 0; i+1 < len(have); i += 2 {
			if have[i] == key {
				at = i
			}
		}
		if at < 0 {
			return "", fmt.Errorf("did policy %.64q: the leaf's subject %.128q has no %.32s (choose another with --did-policy: subject:NAME,…, eku, san)", policy, chain[0].Subject, key)
		}
		out += ":" + have[at] + ":" + have[at+1]
	}
	return out, nil
}

// DIDs lists the identifiers that a chain resolves by itself, the peers' first: those a policy may name this signer by.
func DIDs(chain []*x509.Certificate) []string {
	var out []string
	seen := map[string]bool{}
	for _, did := range []func() (string, error){
		func() (string, error) { return DID(chain, "subject") },
		func() (string, error) { return cose.DIDFor(chain, "subject") },
		func() (string, error) { return cose.DIDFor(chain, "eku") },
		func() (string, error) { return cose.DIDFor(chain, "san") },
		func() (string, error) { return cose.DIDFor(chain, "fulcio-issuer") },
	} {
		if d, err := did(); err == nil && !seen[d] {
			seen[d] = true
			out = append(out, d)
		}
	}
	return out
}
