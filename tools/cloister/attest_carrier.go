package main

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/agent/initdata"
	"github.com/cloister-cc/cloister/evidence"
	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/verify"
)

// carrierError is an initdata document in the evidence that is not what the user approved.
type carrierError struct{ got, want string }

// bindPolicy settles what HOST_DATA has to be, and which policy text it binds. bad is what is wrong with the evidence.
func (a *attestVerify) bindPolicy(exp *verify.Expectations, ev *verify.Evidence, f *verify.File, in input) (bad *carrierError, err error) {
	switch {
	case a.initdata != "":
		doc, err := initdata.Parse(in.initdata)
		if err != nil {
			return nil, unreadable(fmt.Errorf("%q: %w", a.initdata, err))
		}
		host := doc.HostData()
		exp.HostData, exp.PolicyBound, ev.Policy = &host, true, []byte(doc.Data[initdata.PolicyKey])
	case a.policy != "" && f.Carrier == snp.CarrierInitdata:
		host, bad := carried(f.Initdata, in.policy)
		if bad != nil {
			ev.Policy = nil
			return bad, nil
		}
		exp.HostData, exp.PolicyBound, ev.Policy = &host, true, in.policy
	case a.policy != "":
		host := sha256.Sum256(in.policy)
		exp.HostData, ev.Policy = &host, in.policy
	case f.Carrier == snp.CarrierInitdata:
		exp.PolicyBound, ev.Policy = true, f.Initdata // taken apart, and held against HOST_DATA, when the verifier asks: see boundPolicy
	}
	return nil, nil
}

// policyReader reads what the verifier asks about.
type policyReader func(text []byte) (*evidence.Policy, error)

// policyReader says how Evidence.Policy is read: what the user approved whole, what the sender says within bounds.
func (a *attestVerify) policyReader(f *verify.File) policyReader {
	switch {
	case a.policy != "" || a.initdata != "":
		return func(text []byte) (*evidence.Policy, error) { return evidence.ReadApproved(text), nil }
	case f.Carrier == snp.CarrierInitdata:
		return func(doc []byte) (*evidence.Policy, error) { return boundPolicy(doc, f.Evidence.Report) }
	}
	return func(text []byte) (*evidence.Policy, error) { return evidence.ReadPolicy(text), nil }
}

// boundPolicy is the policy of a document that nobody approved, if HOST_DATA of the report, which is genuine, binds it: enough to say what the evidence is of.
func boundPolicy(raw, report []byte) (*evidence.Policy, error) {
	doc, err := initdata.Parse(raw)
	if err != nil {
		return nil, err
	}
	r, err := snp.DecodeReport(report)
	if err != nil {
		return nil, err
	}
	if host := doc.HostData(); host != r.HostData {
		return nil, fmt.Errorf("initdata: got digest %x, want HOST_DATA %x", host, r.HostData)
	}
	text, ok := doc.Data[initdata.PolicyKey]
	if !ok {
		return nil, fmt.Errorf("initdata: no entry %s", initdata.PolicyKey)
	}
	return evidence.ReadPolicy([]byte(text)), nil
}

// maxCarrying is how long a document may be that holds a policy and nothing else: TOML's longest spelling of a byte has ten, and the rest is short.
func maxCarrying(policy []byte) int { return 10*len(policy) + 64<<10 }

// carried is the digest of a document the host sent along, if it holds the approved policy and nothing besides: another entry, such as a list of layers,
// could change what the policy amounts to.
func carried(raw, policy []byte) ([32]byte, *carrierError) {
	const want = "an initdata document that holds the --policy file and nothing else (or approve the document itself: --initdata)"
	if len(raw) == 0 {
		return [32]byte{}, &carrierError{"no document", want}
	}
	if limit := maxCarrying(policy); len(raw) > limit { // nothing is signed yet
		return [32]byte{}, &carrierError{fmt.Sprintf("a document of %d bytes, more than the %d that such a one can have", len(raw), limit), want}
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
