package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/cloister-cc/cloister/agent/initdata"
	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/verify"
)

// ownWord settles what follows from the policy or document that a bundle carries as its own: where the user says nothing of HOST_DATA, one that it is not the
// digest of refuses the bundle, else it is only noted. Of a report that is not genuine nothing is read.
func (a *attestVerify) ownWord(f *verify.File, in input, out *judged) *carrierError {
	if !genuine(out.verdict) {
		return nil
	}
	bad := contradicted(f)
	switch {
	case given(a.policy, a.initdata, a.hostData) == 0:
		if bad != nil {
			out.notes = append(out.notes, "the bundle contradicts itself: HOST_DATA is not the digest of the policy or initdata that it carries as its own")
		}
		return bad
	case a.policy != "" && len(f.Evidence.Policy) > 0 && !bytes.Equal(f.Evidence.Policy, in.policy):
		out.notes = append(out.notes, "the bundle's own policy is not the --policy file: the file was judged")
	case bad != nil:
		out.notes = append(out.notes, "HOST_DATA is not the digest of what the bundle carries as its own policy: what you gave was judged")
	}
	return nil
}

func genuine(v *verify.Verdict) bool {
	return !slices.ContainsFunc(v.Checks, func(c verify.Check) bool {
		return c.Class == verify.ClassSignature && (c.Status == verify.StatusFail || c.Status == verify.StatusNotJudged)
	})
}

// contradicted holds the policy or document that a bundle carries against its report. Nil is no contradiction.
func contradicted(f *verify.File) *carrierError {
	r, err := snp.DecodeReport(f.Evidence.Report)
	if err != nil {
		return nil // the verdict says so
	}
	got, policy := fmt.Sprintf("%x", r.HostData), f.Evidence.Policy
	if f.Carrier != snp.CarrierInitdata {
		if want := sha256.Sum256(policy); len(policy) > 0 && want != r.HostData {
			return &carrierError{got, fmt.Sprintf("%x", want)}
		}
		return nil
	}
	if len(f.Initdata) == 0 {
		return nil
	}
	doc, err := initdata.Parse(f.Initdata)
	switch {
	case err != nil:
		return &carrierError{fmt.Sprintf("%.300s", err), "an initdata document in the bundle whose digest is HOST_DATA"}
	case doc.HostData() != r.HostData:
		return &carrierError{got, fmt.Sprintf("%x", doc.HostData())}
	case len(policy) > 0 && doc.Data[initdata.PolicyKey] != string(policy):
		return &carrierError{"another policy beside the initdata document", "the policy that the bundle's own initdata holds"}
	}
	return nil
}
