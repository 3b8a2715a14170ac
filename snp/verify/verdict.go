package verify

import (
	"encoding/hex"

	"github.com/cloister-cc/cloister/snp"
)

// Status is the outcome of one check.
type Status string

// The outcomes.
const (
	StatusPass     Status = "pass"
	StatusFail     Status = "fail"
	StatusNotAsked Status = "not_asked" // the caller has no expectation about it
	// StatusNotJudged is a check that could not be made because another one failed: without a certificate there is no signature to check. A verdict that
	// has one is never good.
	StatusNotJudged Status = "not_judged"
)

// Check is one row of a verdict.
type Check struct {
	Name   string `json:"name"`
	Code   string `json:"code"`
	Class  Class  `json:"class"`
	Status Status `json:"status"`
	Want   string `json:"want,omitempty"`
	Got    string `json:"got,omitempty"`
}

// Verdict is the outcome of a verification. It has one row for every code, always.
type Verdict struct {
	// OK is true only if no check failed and none was left unjudged.
	OK      bool     `json:"ok"`
	Product string   `json:"product,omitempty"` // by the report's processor or, in version 2, the certificate's product name
	Line    snp.Line `json:"line,omitempty"`    // by the certificate
	Signer  string   `json:"signer,omitempty"`  // subject of the endorsement key's certificate
	Root    string   `json:"root,omitempty"`    // subject of the root it chains to
	// TestOnly says that the root is the software processor's: anybody can make one, and it says nothing about hardware.
	TestOnly bool `json:"test_only,omitempty"`
	// Identity is IdentityContainer or IdentityPod if the evidence is good and has a preimage that REPORT_DATA binds, and empty otherwise.
	Identity Identity `json:"identity,omitempty"`
	Checks   []Check  `json:"checks"`
}

// Failed lists the checks that failed.
func (v *Verdict) Failed() []Check {
	var out []Check
	for _, c := range v.Checks {
		if c.Status == StatusFail {
			out = append(out, c)
		}
	}
	return out
}

// ExitCode is 0 for a good verdict, else the number of the first class with a failure: signature, missing, revocation, policy.
func (v *Verdict) ExitCode() int {
	if v.OK {
		return 0
	}
	code := ClassPolicy
	for _, c := range v.Checks {
		if c.Status == StatusFail && c.Class < code {
			code = c.Class
		}
	}
	return int(code)
}

// Refuse is the verdict on evidence that never was a report: every row is unjudged but the first, which says why.
func Refuse(got, want string) *Verdict {
	j := newJudge()
	j.set(checkReport, false, want, got)
	return j.close()
}

// judge fills in a verdict. Rows begin unjudged, so that a check which is forgotten refuses.
type judge struct {
	v *Verdict
}

// unjudged are the rows before anything was checked.
var unjudged = func() (rows [numChecks]Check) {
	for i, c := range codes {
		rows[i] = Check{Name: c.Name, Code: c.Code, Class: c.Class, Status: StatusNotJudged}
	}
	return rows
}()

func newJudge() judge {
	rows := make([]Check, numChecks)
	copy(rows, unjudged[:])
	return judge{&Verdict{Checks: rows}}
}

// set records an outcome.
func (j judge) set(id checkID, ok bool, want, got string) bool {
	c := &j.v.Checks[id]
	c.Status, c.Want, c.Got = StatusFail, want, got
	if ok {
		c.Status = StatusPass
	}
	return ok
}

// notAsked records that the caller has no expectation.
func (j judge) notAsked(ids ...checkID) {
	for _, id := range ids {
		j.v.Checks[id].Status = StatusNotAsked
	}
}

// close settles the verdict.
func (j judge) close() *Verdict {
	j.v.OK = true
	for i := range j.v.Checks {
		if s := j.v.Checks[i].Status; s != StatusPass && s != StatusNotAsked {
			j.v.OK = false
			j.v.Identity = "" // refused evidence is nobody's
		}
	}
	return j.v
}

// hexText is hex in one allocation.
func hexText(b []byte) string {
	var buf [128]byte
	if hex.EncodedLen(len(b)) > len(buf) {
		return hex.EncodeToString(b)
	}
	return string(buf[:hex.Encode(buf[:], b)])
}
