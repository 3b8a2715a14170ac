package verify

import (
	"bytes"
	"crypto/sha256"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/eventlog"
	"github.com/cloister-cc/cloister/snp/identity"
)

// Identity says whose evidence it is.
type Identity string

// The identities.
const (
	// IdentityContainer: only containers that the policy names can get reports, each over its own preimage, and this one got it.
	IdentityContainer Identity = "container"
	// IdentityPod: some container of the pod got the report; another could have made up the preimage.
	IdentityPod Identity = "pod"
)

// identity judges the preimage of REPORT_DATA. One that is there is judged even if nobody asked.
func (j judge) identity(r *snp.Report, ev *Evidence, exp *Expectations) {
	if exp.Identity == "" {
		j.notAsked(checkIdentity)
	}
	asked := exp.Identity != "" || exp.RequireIdentity || exp.RequireEventLog || exp.Nonce != nil
	if len(ev.Preimage) == 0 && !asked {
		j.notAsked(checkPreimage, checkPreimageHash, checkPreimagePolicy, checkPreimageNonce, checkPreimageEntries, checkEventLog)
		return
	}
	if !j.set(checkPreimage, len(ev.Preimage) > 0, "a preimage", presence(ev.Preimage)) {
		return
	}
	const want = "SHA-512 of the preimage"
	if got := identity.ReportData(ev.Preimage); got != r.ReportData {
		j.set(checkPreimageHash, false, hexText(got[:]), hexText(r.ReportData[:]))
		return
	}
	p, err := identity.Parse(ev.Preimage)
	if err != nil {
		j.set(checkPreimageHash, false, want, err.Error())
		return
	}
	j.set(checkPreimageHash, true, want, want)
	ok := j.equal(checkPreimagePolicy, p.PolicyDigest[:], r.HostData[:])
	if exp.Nonce == nil {
		j.notAsked(checkPreimageNonce)
	} else {
		ok = j.equal(checkPreimageNonce, p.Nonce, exp.Nonce) && ok
	}
	ok = j.entries(r, p, ev, exp) && ok
	if ok = j.eventLog(p, ev, exp) && ok; ok {
		j.v.Identity = j.whose(r, ev, exp)
		if exp.Identity != "" {
			j.set(checkIdentity, j.v.Identity == IdentityContainer || j.v.Identity == exp.Identity, string(exp.Identity), string(j.v.Identity))
		}
	}
}

// eventLog replays the log that came with the evidence up to the head that REPORT_DATA binds.
func (j judge) eventLog(p *identity.Preimage, ev *Evidence, exp *Expectations) bool {
	switch {
	case len(ev.EventLog) == 0 && exp.RequireEventLog:
		return j.set(checkEventLog, false, "an event log", "none")
	case len(ev.EventLog) == 0:
		j.notAsked(checkEventLog)
		return true
	}
	want := hexText(p.EventHead[:])
	log, err := eventlog.Parse(ev.EventLog)
	if err == nil {
		err = log.Verify()
	}
	if err != nil {
		return j.set(checkEventLog, false, want, err.Error())
	}
	return j.equal(checkEventLog, log.Head[:], p.EventHead[:])
}

// entries asks the caller whether the policy has the entries that the preimage names.
func (j judge) entries(r *snp.Report, p *identity.Preimage, ev *Evidence, exp *Expectations) bool {
	const want = "entries of the policy"
	switch {
	case exp.PolicyEntries == nil || len(ev.Policy) == 0:
		j.notAsked(checkPreimageEntries)
		return true
	case !bound(r, ev, exp):
		return j.set(checkPreimageEntries, false, want, "a policy text that HOST_DATA does not bind")
	case !j.genuine():
		return false // stays unjudged
	}
	if err := exp.PolicyEntries(ev.Policy, p); err != nil {
		return j.set(checkPreimageEntries, false, want, err.Error())
	}
	return j.set(checkPreimageEntries, true, want, want)
}

// genuine says whether everything about signatures, certificates and revocation was judged and holds. Before that the caller is asked nothing about a policy: anybody
// can write a report that names the digest of his own text, and reading a text costs many times its size.
func (j judge) genuine() bool {
	for i := range j.v.Checks {
		c := &j.v.Checks[i]
		if (c.Class == ClassSignature || c.Class == ClassRevocation) && c.Status != StatusPass && c.Status != StatusNotAsked {
			return false
		}
	}
	return true
}

// whose asks the caller about the policy, but only about one that HOST_DATA of a genuine report binds.
func (j judge) whose(r *snp.Report, ev *Evidence, exp *Expectations) Identity {
	if exp.ContainerIdentity != nil && len(ev.Policy) > 0 && bound(r, ev, exp) && j.genuine() && exp.ContainerIdentity(ev.Policy) {
		return IdentityContainer
	}
	return IdentityPod
}

// bound says whether HOST_DATA binds the policy text that came with the evidence.
func bound(r *snp.Report, ev *Evidence, exp *Expectations) bool {
	sum := sha256.Sum256(ev.Policy)
	return exp.PolicyBound || bytes.Equal(sum[:], r.HostData[:])
}
