package main

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/agent/initdata"
	"github.com/cloister-cc/cloister/snp"
)

// carrierError is an initdata document in the evidence that is not what the user approved.
type carrierError struct{ got, want string }

func (e *carrierError) Error() string {
	return fmt.Sprintf("initdata: got %s, want %s", e.got, e.want)
}

// anchor is the HOST_DATA that binds what the user approved.
func (a *attestVerify) anchor(b *snp.Bundle) ([32]byte, error) {
	if a.initdata != "" {
		raw, err := os.ReadFile(a.initdata)
		if err != nil {
			return [32]byte{}, unreadable(err)
		}
		doc, err := initdata.Parse(raw)
		if err != nil {
			return [32]byte{}, unreadable(err)
		}
		return doc.HostData(), nil
	}
	policy, err := os.ReadFile(a.policy)
	if err != nil {
		return [32]byte{}, unreadable(err)
	}
	if b.Carrier != snp.CarrierInitdata {
		return sha256.Sum256(policy), nil
	}
	return carried(b.Initdata, policy)
}

// carried is the digest of a document the host sent along, if it holds the approved policy and nothing besides: another entry, such as a list of layers,
// could change what the policy amounts to.
func carried(raw, policy []byte) ([32]byte, error) {
	const want = "a document that holds the --policy file and nothing else (or approve the document itself: --initdata)"
	if len(raw) == 0 {
		return [32]byte{}, &carrierError{"no document", want}
	}
	doc, err := initdata.Parse(raw)
	if err != nil {
		return [32]byte{}, &carrierError{err.Error(), want}
	}
	if keys := slices.Sorted(maps.Keys(doc.Data)); len(keys) != 1 || keys[0] != initdata.PolicyKey {
		return [32]byte{}, &carrierError{fmt.Sprintf("entries %.256q", strings.Join(keys, ", ")), want}
	}
	if doc.Data[initdata.PolicyKey] != string(policy) {
		return [32]byte{}, &carrierError{"another policy", want}
	}
	return doc.HostData(), nil
}
